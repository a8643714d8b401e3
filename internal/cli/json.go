package cli

import (
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// The shapes of --json are those of the HTTP contract, so that a program can read either.

type userJSON struct {
	ID        pbx.UserID    `json:"id"`
	TenantID  pbx.TenantID  `json:"tenant_id"`
	Name      string        `json:"name"`
	Email     string        `json:"email"`
	Extension extensionJSON `json:"extension"`
	CreatedAt time.Time     `json:"created_at"`
}

type extensionJSON struct {
	ID        pbx.ExtensionID `json:"id"`
	Number    pbx.Number      `json:"number"`
	Secret    string          `json:"secret"`
	CreatedAt time.Time       `json:"created_at"`
}

func toJSON(u pbx.User) userJSON {
	e := u.Extension
	return userJSON{u.ID, u.TenantID, u.Name, u.Email, extensionJSON{e.ID, e.Number, e.Secret.Reveal(), e.CreatedAt}, u.CreatedAt}
}

type logJSON struct {
	ID            pbx.RunID   `json:"id"`
	TriggeredAt   time.Time   `json:"triggered_at"`
	TriggeredBy   string      `json:"triggered_by"`
	Outcome       pbx.Outcome `json:"outcome"`
	ErrorDetails  string      `json:"error_details,omitempty"`
	FilesWritten  []string    `json:"files_written"`
	ReloadResults reloadJSON  `json:"reload_results"`
}

type reloadJSON struct {
	PJSIP    *commandJSON `json:"pjsip_reload,omitempty"`
	Dialplan *commandJSON `json:"dialplan_reload,omitempty"`
}

type commandJSON struct {
	ExitCode int    `json:"exit_code"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

func toLogJSON(l pbx.ApplyLog) logJSON {
	return logJSON{
		l.ID, l.TriggeredAt, l.TriggeredBy, l.Outcome, l.ErrorDetails, append([]string{}, l.FilesWritten...),
		reloadJSON{(*commandJSON)(l.Reload.PJSIP), (*commandJSON)(l.Reload.Dialplan)},
	}
}

type reportJSON struct {
	AuditLogID   pbx.RunID        `json:"audit_log_id,omitempty"`
	Outcome      pbx.Outcome      `json:"outcome"`
	Verification pbx.Verification `json:"verification"`
	Differences  []string         `json:"differences,omitempty"`
	FilesWritten []string         `json:"files_written"`
	Reload       reloadJSON       `json:"reload_results"`
	Users        int              `json:"users_applied"`
	Milliseconds int64            `json:"duration_ms"`
	Error        string           `json:"error,omitempty"`
}

func toReportJSON(r apply.Report, err error) reportJSON {
	l := toLogJSON(r.Log)
	out := reportJSON{
		r.Log.ID, l.Outcome, r.Verification, r.Differences, l.FilesWritten, l.ReloadResults, r.Users, r.Duration.Milliseconds(), "",
	}
	if err != nil {
		out.Outcome, out.Error = pbx.Failure, err.Error()
	}
	return out
}
