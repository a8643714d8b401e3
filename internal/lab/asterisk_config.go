package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// asteriskModules are the minimum to register phones, connect calls and inspect the dialplan. With autoload off the order matters only for what a module
// needs at load time.
const asteriskModules = `res_timing_timerfd res_sorcery_config res_sorcery_memory res_sorcery_astdb res_crypto
res_pjproject res_rtp_asterisk res_statsd
res_pjsip res_pjsip_session res_pjsip_authenticator_digest res_pjsip_outbound_authenticator_digest
res_pjsip_endpoint_identifier_user res_pjsip_endpoint_identifier_ip res_pjsip_registrar res_pjsip_sdp_rtp
res_pjsip_nat res_pjsip_caller_id res_pjsip_dtmf_info res_pjsip_rfc3326 res_pjsip_dlg_options
res_pjsip_acl res_pjsip_diversion res_pjsip_pubsub res_pjsip_outbound_publish res_pjsip_exten_state
res_pjsip_pidf_body_generator res_pjsip_logger
func_pjsip_endpoint func_pjsip_aor func_pjsip_contact chan_pjsip
bridge_simple bridge_native_rtp bridge_softmix bridge_builtin_features
codec_ulaw codec_alaw codec_a_mu codec_gsm format_gsm format_pcm format_wav format_sln
pbx_config app_dial app_echo app_playback app_milliwatt app_verbose app_stack app_exec
func_sorcery func_dialplan func_callerid func_channel func_logic func_strings func_global func_hangupcause func_devstate func_groupcount
func_timeout func_cut func_db res_clioriginate app_userevent app_playtones`

// placeholder is the content of the generated files until the first apply replaces them: an include pattern without matches makes Asterisk reject the
// whole including file.
const placeholder = "; Nothing was applied yet.\n"

func (a *Asterisk) writeConfig() error {
	dir := func(sub string) string { return filepath.Join(a.dir, sub) }
	data := filepath.Join(a.tree.Root, "usr/share/asterisk")
	files := map[string]string{
		"asterisk.conf": lines(
			"[directories]",
			"astetcdir => "+a.ConfigDir,
			"astmoddir => "+filepath.Join(a.tree.libraries(), "asterisk/modules"),
			"astdatadir => "+data,
			"astvarlibdir => "+dir("var"),
			"astdbdir => "+dir("var"),
			"astkeydir => "+dir("keys"),
			"astspooldir => "+dir("spool"),
			"astlogdir => "+dir("log"),
			"astcachedir => "+dir("cache"),
			"astrundir => "+filepath.Dir(a.ControlSocket),
			"astagidir => "+filepath.Join(data, "agi-bin"),
			"astsbindir => "+filepath.Join(a.tree.Root, "usr/sbin"),
			"[options]",
			"hideconnect = yes",
			"nocolor = yes",
			"execincludes = no",
			"live_dangerously = no",
			"[files]",
			"astctlpermissions = 0600",
		),
		"modules.conf": a.modulesConf(),
		"logger.conf": lines(
			"[general]",
			"dateformat = %F %T.%3q",
			"[logfiles]",
			"messages.log => notice,warning,error",
		),
		"rtp.conf": lines(
			"[general]",
			fmt.Sprintf("rtpstart = %d", a.options.RTPStart),
			fmt.Sprintf("rtpend = %d", a.options.RTPEnd),
			"icesupport = no",
		),
		"pjsip.conf": lines(
			"[global]",
			"type = global",
			"user_agent = PBX",
			"",
			"[transport-udp]",
			"type = transport",
			"protocol = udp",
			"bind = "+a.SIPAddr,
			a.options.PJSIP,
			"#include pjsip.d/synergycall/*.conf",
		),
		"extensions.conf": lines(
			"[general]",
			"static = yes",
			"writeprotect = yes",
			"[globals]",
			a.options.Globals,
			a.options.Dialplan,
			"#include extensions.d/synergycall/*.conf",
		),
		"statsd.conf": "[general]\nenabled = no\n",
		"acl.conf":    "; No access lists.\n",
		"cdr.conf":    "[general]\nenable = no\n",
		"manager.conf": lines(
			"[general]",
			"enabled = yes",
			"bindaddr = 127.0.0.1",
			"port = "+strings.TrimPrefix(a.AMI.Addr, "127.0.0.1:"),
			"["+a.AMI.User+"]",
			"secret = "+a.AMI.Secret,
			"deny = 0.0.0.0/0.0.0.0",
			"permit = 127.0.0.1/255.255.255.255",
			"read = system,call,user",
			"write = reporting",
			"eventfilter(action(exclude),name(VoicemailPasswordChange)) =",
		),
		"indications.conf": "[general]\ncountry = us\n[us]\ndescription = United States\nringcadence = 2000,4000\n" +
			"dial = 350+440\nbusy = 480+620/500,0/500\nring = 440+480/2000,0/4000\ncongestion = 480+620/250,0/250\n",
	}
	// Asterisk logs a warning for each of these if it is missing, and a log without noise is more useful.
	for _, name := range []string{"ccss", "cel", "features", "pjproject", "udptl"} {
		files[name+".conf"] = "[general]\n"
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(a.ConfigDir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("cannot write the configuration of Asterisk: %w", err)
		}
	}
	for _, name := range []string{
		"pjsip.d/synergycall/generated_endpoints.conf", "extensions.d/synergycall/generated_routing.conf",
	} {
		if err := writeNew(filepath.Join(a.ConfigDir, name), placeholder); err != nil {
			return fmt.Errorf("cannot write the configuration of Asterisk: %w", err)
		}
	}
	return nil
}

func (a *Asterisk) modulesConf() string {
	var conf strings.Builder
	conf.WriteString("[modules]\nautoload = no\n")
	for _, name := range strings.Fields(asteriskModules) {
		fmt.Fprintf(&conf, "load = %s.so\n", name)
	}
	for _, name := range a.options.Modules {
		fmt.Fprintf(&conf, "load = %s\n", name)
	}
	return conf.String()
}

func lines(all ...string) string { return strings.Join(all, "\n") + "\n" }

// writeNew writes a file unless it exists.
func writeNew(path, text string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
