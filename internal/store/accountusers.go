package store

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// setPersons sets the persons of accounts: the users who are linked to them, or else who have the same e-mail address and are linked to no account.
func setPersons(ctx context.Context, from querier, d *dialect, accounts []pbx.Account) error {
	ids := make([]pbx.AccountID, len(accounts))
	for i, a := range accounts {
		ids[i] = a.ID
	}
	asked, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	_, err = gather(ctx, from, func(r row) (u pbx.AccountUser, err error) {
		id := ""
		if err = r.Scan(&id, (*string)(&u.ID), &u.Name, (*int)(&u.Number), &u.Linked); err == nil {
			accounts[slices.Index(ids, pbx.AccountID(id))].Person = u
		}
		return u, err
	}, d.usersOfAccounts(), string(asked))
	return err
}

// SetPerson sets the person of an account.
func (t *Tx) SetPerson(ctx context.Context, a *pbx.Account) error {
	one := []pbx.Account{*a}
	err := setPersons(ctx, t.tx, t.dialect, one)
	*a = one[0]
	return err
}

func (d *dialect) usersOfAccounts() string {
	const user = `SELECT CAST(a.id AS text), CAST(u.id AS text), u.name, e.number, `
	asked := `CAST(a.id AS text) IN (SELECT asked.text FROM ` + d.listIn("$1") + ` AS asked)`
	return user + `true FROM accounts a JOIN account_users l ON l.account_id = a.id JOIN users u ON u.id = l.user_id JOIN extensions e ON e.user_id = u.id WHERE ` + asked + `
UNION ALL
` + user + `false FROM accounts a JOIN users u ON lower(u.email) = lower(a.email) JOIN extensions e ON e.user_id = u.id
WHERE ` + asked + ` AND NOT EXISTS (SELECT 1 FROM account_users l WHERE l.account_id = a.id OR l.user_id = u.id)`
}

// UserOfAccount returns the id of the user who is the person of an account; "" if it is linked to none.
func (t *Tx) UserOfAccount(ctx context.Context, id pbx.AccountID) (pbx.UserID, error) {
	user, _, err := found(scanText(t.tx.QueryRowContext(ctx, `SELECT CAST(user_id AS text) FROM account_users WHERE account_id = $1`, string(id))))
	return pbx.UserID(user), err
}

// AccountOfUser returns the account that is linked to a user; ok is false if there is none.
func (t *Tx) AccountOfUser(ctx context.Context, id pbx.UserID) (a pbx.Account, ok bool, err error) {
	c, ok, err := found(scanAccount(t.tx.QueryRowContext(ctx, selectAccount+`JOIN account_users l ON l.account_id = a.id WHERE l.user_id = $1`, string(id))))
	return c.Account, ok, err
}

// LinkAccount links an account to a user, or to none if the id is "". The caller has checked that the user exists, and is linked to no other account.
func (t *Tx) LinkAccount(ctx context.Context, account pbx.AccountID, user pbx.UserID) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM account_users WHERE account_id = $1`, string(account))
	if err == nil && user != "" {
		_, err = t.tx.ExecContext(ctx, `INSERT INTO account_users (account_id, user_id) VALUES ($1, $2)`, string(account), string(user))
	}
	return err
}
