package pbx

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of failure an Error is, and so what a caller may do about it. The zero Kind is an internal fault whose
// text never leaves the process.
type Kind int

// The kinds of failure. Each entrance to the program turns them into its own language once: HTTP status codes, exit codes.
const (
	KindInternal    Kind = iota // a fault of ours: nothing the caller can mend
	KindInvalid                 // the input breaks a rule; Fields says which
	KindNotFound                // what was named does not exist
	KindConflict                // what is asked collides with what is there
	KindUnavailable             // something we need is away; trying again later may help
	KindApply                   // an apply ended without success; its audit record tells the story
	KindNotSignedIn             // it is not known who asks: no proof of it, or one that does not hold
	KindForbidden               // it is known who asks, and he may not
	KindTooMany                 // too much was asked in too short a time; RetryAfter says when to try again
)

// Error is a failure meant for the caller. Its message and fields may be shown to anyone who made the request; the wrapped cause
// may not.
type Error struct {
	Kind   Kind
	Code   string // stable, snake_case, listed in the contract
	Msg    string // a sentence that says what is wrong and what to do next
	Fields []FieldError
	Err    error // the cause, for the log; may be nil

	RetryAfter time.Duration // how long to wait before trying again; 0 where that cannot be said
}

// FieldError says what is wrong with one field of the input, and how to mend it.
type FieldError struct {
	Field   string
	Code    FieldCode
	Message string
	Least   int // the bounds that Code speaks of; 0 where it speaks of none
	Most    int
}

// FieldCode is what is wrong with a field, as a stable word: whoever speaks another language than Message says by it what Message says.
type FieldCode string

// What can be wrong with a field. The contract lists the same.
const (
	FieldMissing    FieldCode = "missing"
	FieldTooShort   FieldCode = "too_short" // Least characters
	FieldTooLong    FieldCode = "too_long"  // Most characters
	FieldRange      FieldCode = "out_of_range"
	FieldType       FieldCode = "wrong_type"
	FieldChoice     FieldCode = "not_a_choice" // it is none of a few words
	FieldMalformed  FieldCode = "malformed"    // it has another form than it must have
	FieldEncoding   FieldCode = "not_utf8"
	FieldInvisible  FieldCode = "invisible_characters"
	FieldASCII      FieldCode = "not_ascii"
	FieldEmail      FieldCode = "not_an_email"
	FieldTaken      FieldCode = "taken"
	FieldBeyondRole FieldCode = "beyond_role"
	FieldMonotonous FieldCode = "monotonous" // a password of too few different characters
	FieldGuessable  FieldCode = "guessable"  // a password that is easy to guess
	FieldPassword   FieldCode = "wrong_password"
	FieldOTP        FieldCode = "wrong_code"
	FieldCursor     FieldCode = "not_a_cursor"
	FieldDiffers    FieldCode = "differs" // from the same thing said elsewhere in the request
	FieldTwice      FieldCode = "given_twice"
	FieldUnknown    FieldCode = "unknown"     // the call has no such field or parameter
	FieldMore       FieldCode = "more_faults" // more fields are wrong than are listed
)

// Error gives the message with its cause, for logs.
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

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf gives the kind of the first Error in the chain of err, and KindInternal where there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// CodeOf gives the code of the first Error in the chain of err, and "internal" where there is none.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// FieldsOf gives the fields of the first Error in the chain of err, nil where there is none.
func FieldsOf(err error) []FieldError {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Fields
	}
	return nil
}

// The codes of failures, stable names for programs. The contract lists them.
const (
	CodeInternal        = "internal"
	CodeInvalid         = "invalid_input"
	CodeUserNotFound    = "user_not_found"
	CodeEmailTaken      = "email_taken"
	CodePoolExhausted   = "extension_pool_exhausted"
	CodeRetryExhausted  = "allocation_retries_exhausted"
	CodeDatabaseAway    = "database_unavailable"
	CodeDatabaseFull    = "database_full"    // its disk is full, or it may not be written
	CodeDatabaseDamaged = "database_damaged" // rows are not as the portal wrote them
	CodeDatabaseNewer   = "database_newer"   // a newer program has changed the database
	CodeNoExtension     = "extension_not_found"
	CodeLogNotFound     = "apply_log_not_found"
	CodeApplyRunning    = "apply_running"
	CodePlanMoved       = "plan_moved"   // the plan is not the one that was reviewed
	CodeNumberClash     = "number_clash" // the host has an object with the number of a user; nothing was touched
	CodeDrift           = "drift"        // somebody else changed the files; nothing was touched
	CodeKeyReused       = "idempotency_key_reused"
	CodeNoRevision      = "revision_not_found"
	CodeForgotten       = "revision_forgotten" // the bytes of the revision are no longer kept
	CodeRolledBack      = "rolled_back"        // Asterisk did not take the new files; the old ones run again
	CodeInDoubt         = "in_doubt"           // it could not be found out which files are in place
	CodeRefused         = "apply_refused"      // the rendered files were not what was meant; nothing was touched
	CodeWriteFailed     = "write_failed"       // the files could not be written; the old ones are in place
	CodeReloadFailed    = "reload_failed"      // the new files are in place, Asterisk did not take them
	CodeContradicted    = "asterisk_disagrees" // Asterisk reloaded, but runs something else than the files say
	CodeNotConfirmed    = "not_confirmed"      // the files are in place, no command failed, but Asterisk was not seen to run them
	CodeAuditFailed     = "audit_failed"       // the apply was carried out, its record could not be completed

	CodeNotSignedIn     = "not_signed_in"
	CodeForbidden       = "forbidden"
	CodeSignInFailed    = "sign_in_failed" // never says which part was wrong
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
	CodeTOTPOn          = "totp_on"         // there is a second factor already
	CodeTOTPOff         = "totp_off"        // there is none, or none that waits to be confirmed
	CodeTooManyTokens   = "too_many_tokens" // as many as one maker may have
	CodeSecondFactor    = "second_factor_needed"
	CodeOtherAccount    = "other_account" // the session is not of the account that the request names
	CodePersonsOnly     = "persons_only"  // it is about a person's own account, and a token has none
)

// ErrEdited says that the files were changed by others since they were looked at; they are as they were changed.
var ErrEdited = errors.New("changed by others")

// ErrInDoubt says that it could not be found out whether a change of the files will survive a power cut. What is read is whole.
var ErrInDoubt = errors.New("in doubt")
