# Stands in for `asterisk -rx COMMAND` in scripts/bench: it says of itself that it runs what the generated files say now, so that an apply is
# confirmed, and takes next to no time. ASTERISK_CONTROL="exec:awk -v DIR=/etc/asterisk -f scripts/asterisk.awk --".
function answer_list(label, type,    line, id, n) {
	printf "\n%s:  <Id>\n====\n\n", label
	while ((getline line < (DIR "/pjsip.d/synergycall/generated_endpoints.conf")) > 0) {
		if (line ~ /^\[/) id = substr(line, 2, length(line) - 2)
		if (line ~ "^type *= *" type "$") { printf "%s:  %s\n", label, id; n++ }
	}
	printf "\nObjects found: %d\n\n", n
}
function answer_dialplan(wanted,    line, parts, exten, priority, extens, steps, text) {
	while ((getline line < (DIR "/extensions.d/synergycall/generated_routing.conf")) > 0) {
		if (line ~ /^exten => /) { split(substr(line, 10), parts, ","); exten = parts[1]; priority = 0 }
		else if (line !~ /^ same => /) continue
		if (wanted != "" && exten != wanted) continue
		sub(/^(exten => [0-9]+,1,| same => n,)/, "", line)
		priority++; steps++
		text = text sprintf("  %-17s %d. %s  [generated_routing.conf:1]\n", priority == 1 ? "'" exten "' =>" : "", priority, line)
		if (priority == 1) extens++
	}
	printf "[ Context 'synergy-internal' created by 'pbx_config' ]\n%s\n-= %d extensions (%d priorities) in 1 context. =-\n", text, extens, steps
}
function answer_contents(question,    line, id, type, hashes, values, part) {
	while ((getline line < (DIR "/pjsip.d/synergycall/generated_endpoints.conf")) > 0) {
		if (line ~ /^\[/) id = substr(line, 2, length(line) - 2)
		if (line ~ /^type *= */) { type = line; sub(/^type *= */, "", type) }
		if (line ~ /^@portal *= */) { sub(/^@portal *= */, "", line); hashes[type "," id] = line }
	}
	while (match(question, /res_pjsip,[a-z]+,[^,]+,/)) {
		part = substr(question, RSTART + 10, RLENGTH - 11)
		values = values hashes[part] "|"
		question = substr(question, RSTART + RLENGTH)
	}
	printf "Return Value: Success (0)\nResult: %s\n", values
}
BEGIN {
	command = ARGV[2]
	if (command == "module reload res_pjsip.so") print "Module 'res_pjsip.so' reloaded successfully."
	else if (command == "dialplan reload") print "Dialplan reloaded."
	else if (command == "core show version") print "Asterisk 22.0.0 built by bench @ bench on a none running none on 2026-01-01 00:00:00 UTC"
	else if (command == "pjsip list endpoints") answer_list("Endpoint", "endpoint")
	else if (command == "pjsip list auths") answer_list("Auth", "auth")
	else if (command == "pjsip list aors") answer_list("Aor", "aor")
	else if (command == "dialplan show synergy-internal") answer_dialplan("")
	else if (command ~ /^dialplan show [0-9]+@synergy-internal$/) { split(command, words, /[ @]/); answer_dialplan(words[3]) }
	else if (command ~ /^dialplan eval function /) answer_contents(command)
	else if (command == "database show registrar contact") print "0 results found."
	else printf "No such command '%s' (type 'core show help %s' for other possible commands)\n", command, command
	exit 0
}
