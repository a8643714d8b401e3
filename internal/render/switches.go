package render

import (
	"github.com/synergycall/pbxportal/internal/pbx"
)

// SwitchEffects returns the effects of a change of the files on the switches of users, which follow a user to another number and end with the user. from is
// the inventory that Asterisk was last seen to run; users are those of to, with their secrets, and came reports whether one got the number after from was
// deployed. A user is recognised by the secret, which is random. A number with another secret belongs to another user if that one came later, or is disabled;
// otherwise the user got a new secret. The files have no secret of a user who was disabled: such a user is recognised at the same number alone.
func SwitchEffects(from, to Inventory, users []pbx.User, came func(pbx.User) bool) (effects []pbx.Effect) {
	at := make(map[pbx.Number]*pbx.User, len(users))
	for i := range users {
		at[users[i].Extension.Number] = &users[i]
	}
	var left, arrived []*piece // at their numbers
	bySecret := map[string]*piece{}
	for was, is := range pairs(from.pieces, to.pieces) {
		a, b := authOf(was), authOf(is)
		if a != nil && b != nil && sameSecret(a, b) {
			continue
		}
		if isUser(was) {
			left = append(left, was)
		}
		if isUser(is) && (a != nil || b != nil || !isUser(was)) { // else disabled, as before
			arrived = append(arrived, is)
			if secret := secretOf(is, users); secret.Reveal() != "" { // else it is not known
				bySecret[secret.Reveal()] = is
			}
		}
	}
	for _, was := range left {
		auth, n := authOf(was), number(was)
		is := bySecret[value(auth, "password")]
		if is == nil && auth != nil && value(auth, "password") == "" && len(left)*len(arrived) <= maxRenumbered {
			for _, other := range arrived {
				if hasSecret(auth, secretOf(other, users)) {
					is = other
				}
			}
		}
		there := to.pieceOf(was.owner)
		gone := !isUser(there) || auth != nil && isDisabled(there) && secretOf(there, users).Reveal() != ""
		switch {
		case is != nil && is == there: // and disabled, or enabled
		case is != nil:
			effects = append(effects, pbx.Effect{Verb: pbx.MoveSwitches, Number: n, To: number(is), Reversible: true})
		case gone || at[n] != nil && came(*at[n]):
			effects = append(effects, pbx.Effect{Verb: pbx.ClearSwitches, Number: n})
		}
	}
	return effects
}

// authOf returns the settings of the auth object of a user's first phone, nil if the piece has none.
func authOf(p *piece) []setting {
	if p == nil || p.owner.Kind != pbx.KindUser {
		return nil
	}
	return p.find("auth", p.owner.Key)
}
