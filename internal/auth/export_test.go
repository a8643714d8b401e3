package auth

// Digest is how a proof of random bits is kept.
var Digest = digest
