package httpapi

import "github.com/synergycall/pbxportal/internal/pbx"

// UserJSON returns a user in the form of the contract's version 1, without the secret.
func UserJSON(u pbx.User) any { return toUserV1(u) }

// UserWithSecretJSON returns a user in the form of the contract's version 1, with the secret.
func UserWithSecretJSON(u pbx.User) any { return newUserWithSecret(u) }

// DeletedUserJSON returns the response to the deletion of a user in the form of the contract.
func DeletedUserJSON(u pbx.User) any { return toDeletedUser(u) }
