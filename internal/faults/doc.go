// Package faults holds the fault-injection tests of the portal: they kill it before each of its system calls, make Asterisk, the
// database and the disk unavailable, and run several portals at once. The guarantees and the numbers are in docs/promises.md. The
// package has no code but tests.
package faults
