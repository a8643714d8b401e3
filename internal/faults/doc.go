// Package faults holds the searches that break the portal on purpose: they kill it before each of its system calls, take Asterisk, the
// database and the disk away from under it, and let several of it run at once. What must hold then, and the numbers, stand in
// docs/promises.md. There is no code here but tests.
package faults
