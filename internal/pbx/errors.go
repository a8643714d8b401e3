package pbx

import (
	"errors"
	"fmt"
	"time"
)

// Kind is the kind of failure of an Error, which determines how a caller can react. The zero Kind is an internal fault whose text never leaves the
// process.
type Kind int

// The kinds of failure. Each interface of the program maps them once: to HTTP status codes or exit codes.
const (
	KindInternal    Kind = iota // an internal fault that the caller cannot fix
	KindInvalid                 // the input breaks a rule; Fields has the details
	KindNotFound                // the named object does not exist
	KindConflict                // the request conflicts with the current state
	KindUnavailable             // a dependency is unavailable; a retry may help
	KindApply                   // an apply failed; its audit record has the details
	KindNotSignedIn             // the caller is not authenticated
	KindForbidden               // the caller is authenticated but not permitted
	KindTooMany                 // rate limit exceeded; RetryAfter is the delay
)

// Error is a failure meant for the caller. Its message and fields may be shown to the caller; the wrapped cause may not.
type Error struct {
	Kind   Kind
	Code   string // stable, snake_case, listed in the contract
	Msg    string // a sentence with the problem and the remedy
	Fields []FieldError
	Uses   []Use // of CodeInUse: what refers to the thing
	Err    error // the cause, for the log; may be nil

	RetryAfter time.Duration // delay before a retry; 0 if unknown
}

// FieldError describes what is wrong with one field of the input, and how to fix it.
type FieldError struct {
	Field   string
	Code    FieldCode
	Message string
	Least   int // the bounds that Code refers to; 0 for none
	Most    int
}

// FieldCode is a stable code for what is wrong with a field, for clients that translate Message.
type FieldCode string

// The field codes, as listed in the contract.
const (
	FieldMissing    FieldCode = "missing"
	FieldTooShort   FieldCode = "too_short" // Least characters
	FieldTooLong    FieldCode = "too_long"  // Most characters
	FieldRange      FieldCode = "out_of_range"
	FieldType       FieldCode = "wrong_type"
	FieldChoice     FieldCode = "not_a_choice" // not one of the permitted values
	FieldCircular   FieldCode = "circular"     // with it a call would go in a circle, which the message names
	FieldMalformed  FieldCode = "malformed"    // wrong syntax
	FieldEncoding   FieldCode = "not_utf8"
	FieldInvisible  FieldCode = "invisible_characters"
	FieldASCII      FieldCode = "not_ascii"
	FieldEmail      FieldCode = "not_an_email"
	FieldTaken      FieldCode = "taken"
	FieldBeyondRole FieldCode = "beyond_role"
	FieldMonotonous FieldCode = "monotonous" // a password with too few different characters
	FieldGuessable  FieldCode = "guessable"  // a password that is easy to guess
	FieldPassword   FieldCode = "wrong_password"
	FieldOTP        FieldCode = "wrong_code"
	FieldCursor     FieldCode = "not_a_cursor"
	FieldDiffers    FieldCode = "differs" // from the same value elsewhere in the request
	FieldTwice      FieldCode = "given_twice"
	FieldUnknown    FieldCode = "unknown"     // the operation has no such field or parameter
	FieldMore       FieldCode = "more_faults" // more fields are invalid than are listed
)

// Error returns the message with its cause, for logs.
func (e *Error) Error() string {
	msg := e.Msg
	for _, f := range e.Fields {
		msg += fmt.Sprintf("; %s: %s", f.Field, f.Message)
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first Error in the chain of err, KindInternal if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// CodeOf returns the code of the first Error in the chain of err, "internal" if there is none.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// FieldsOf returns the fields of the first Error in the chain of err, nil if there is none.
func FieldsOf(err error) []FieldError {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Fields
	}
	return nil
}

// The error codes, stable names for programs. The contract lists them.
const (
	CodeInternal         = "internal"
	CodeInvalid          = "invalid_input"
	CodeUserNotFound     = "user_not_found"
	CodeEmailTaken       = "email_taken"
	CodePoolExhausted    = "extension_pool_exhausted"
	CodeRetryExhausted   = "allocation_retries_exhausted"
	CodeDatabaseAway     = "database_unavailable"
	CodeAsteriskAway     = "asterisk_unavailable"
	CodeDatabaseFull     = "database_full"    // its disk is full, or it is read-only
	CodeDatabaseDamaged  = "database_damaged" // rows are not as the portal wrote them
	CodeDatabaseNewer    = "database_newer"   // a newer program has changed the database
	CodeNoExtension      = "extension_not_found"
	CodeDeviceNotFound   = "device_not_found"
	CodeFirstDevice      = "first_device"     // the phone of the extension stays, and its name is fixed
	CodeTooManyDevices   = "too_many_devices" // the user has MaxDevices phones
	CodeLogNotFound      = "apply_log_not_found"
	CodeApplyRunning     = "apply_running"
	CodePlanMoved        = "plan_moved"   // the plan is not the reviewed one
	CodeNumberClash      = "number_clash" // the host has an object with the number of a user; nothing was changed
	CodeDrift            = "drift"        // the files were modified outside the portal; nothing was changed
	CodeThingNotFound    = "thing_not_found"
	CodeNameTaken        = "name_taken"            // another thing of the kind has the name
	CodeNumberTaken      = "number_taken"          // a user, a thing or the host has the number
	CodeNumbersUsedUp    = "number_pool_exhausted" // no number for things of the kind is free
	CodeNotDeployed      = "not_deployed"          // Asterisk does not run the user yet, or no dialplan that looks at switches
	CodeInUse            = "in_use"                // other things refer to it
	CodeChangedMeanwhile = "changed_meanwhile"     // the object is no longer at the version that the caller read
	CodeKeyReused        = "idempotency_key_reused"
	CodeAnswerLost       = "idempotency_answer_lost" // the request was carried out before, and its response is not available
	CodeNoRevision       = "revision_not_found"
	CodeForgotten        = "revision_forgotten" // the contents of the revision are no longer kept
	CodeRolledBack       = "rolled_back"        // Asterisk did not accept the new files; the old ones run again
	CodeInDoubt          = "in_doubt"           // it is unknown which files are in place
	CodeRefused          = "apply_refused"      // the rendered files are invalid; nothing was changed
	CodeWriteFailed      = "write_failed"       // the files could not be written; the old ones are in place
	CodeReloadFailed     = "reload_failed"      // the new files are in place, Asterisk did not load them
	CodeContradicted     = "asterisk_disagrees" // Asterisk reloaded, but does not run the configuration in the files
	CodeNotConfirmed     = "not_confirmed"      // the files are in place, no command failed, but Asterisk was not seen to run them
	CodeAuditFailed      = "audit_failed"       // the apply was carried out, its record could not be completed

	CodeNotSignedIn     = "not_signed_in"
	CodeForbidden       = "forbidden"
	CodeSignInFailed    = "sign_in_failed" // never reveals which part was wrong
	CodeOTPRequired     = "otp_required"   // the password is right, the second factor is missing
	CodeTooMany         = "too_many_attempts"
	CodeSetupNeeded     = "setup_needed"
	CodeSetupDone       = "setup_done"
	CodeSetupCode       = "setup_code_invalid"
	CodeLinkInvalid     = "link_invalid" // of an invitation or a reset: wrong, used or expired
	CodeAccountNotFound = "account_not_found"
	CodeAccountTaken    = "account_email_taken"
	CodeLastOwner       = "last_owner"
	CodeSessionNotFound = "session_not_found"
	CodeTokenNotFound   = "token_not_found"
	CodeTOTPOn          = "totp_on"         // a second factor exists already
	CodeTOTPOff         = "totp_off"        // there is none, or none to confirm
	CodeTooManyTokens   = "too_many_tokens" // the account has the maximum number
	CodeSecondFactor    = "second_factor_needed"
	CodeOtherAccount    = "other_account" // the session is not of the account that the request names
	CodePersonsOnly     = "persons_only"  // the request requires a user session, not a token
)

// ErrEdited means that the files were modified externally since they were checked; the modifications were kept.
var ErrEdited = errors.New("changed outside the portal")

// ErrInDoubt means that it is unknown whether a change of the files survives a power cut. What is read is consistent.
var ErrInDoubt = errors.New("in doubt")
