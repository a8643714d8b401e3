// Package auth is about who is calling and what he may do: accounts with passwords and a second factor, their sessions, API tokens of
// programs, and the one-time links that begin it all. It holds the rules of who may change whom; it knows nothing of HTTP, cookies or
// SQL. All that cannot be proved is refused.
package auth
