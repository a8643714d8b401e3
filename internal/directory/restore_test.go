package directory_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// past is a directory with three users, of which a revision was made.
type past struct {
	*directory.Directory
	t        *testing.T
	store    *store.Store
	revision pbx.RevisionUsers
	users    []pbx.User
}

func newPast(t *testing.T, url string) *past {
	t.Helper()
	s := storetest.Open(t, url)
	p := &past{Directory: directory.New(s, time.Now), t: t, store: s}
	for i := range 3 {
		p.create(i)
	}
	p.users = p.list()
	p.revision = pbx.RevisionUsers{Revision: 7, At: time.Now(), Secrets: map[pbx.Number]pbx.Secret{}}
	for _, u := range p.users {
		p.revision.Secrets[u.Extension.Number] = u.Extension.Secret
	}
	return p
}

func (p *past) list() []pbx.User {
	p.t.Helper()
	page, err := p.List(p.t.Context(), pbx.DefaultTenant, directory.Query{})
	if err != nil {
		p.t.Fatal(err)
	}
	return page.Users
}

func (p *past) create(i int) pbx.User {
	p.t.Helper()
	u, err := p.Create(p.t.Context(), pbx.DefaultTenant, newUser(i))
	if err != nil {
		p.t.Fatal(err)
	}
	return u
}

func (p *past) change(u pbx.User, patch func(*pbx.User)) {
	p.t.Helper()
	if _, err := p.Change(p.t.Context(), pbx.DefaultTenant, u.ID, 0, func(u *pbx.User) error { patch(u); return nil }); err != nil {
		p.t.Fatal(err)
	}
}

func (p *past) remove(u pbx.User) {
	p.t.Helper()
	if _, err := p.Delete(p.t.Context(), pbx.DefaultTenant, u.ID); err != nil {
		p.t.Fatal(err)
	}
}

func (p *past) restore() directory.Restored {
	p.t.Helper()
	done, err := p.Restore(p.t.Context(), pbx.DefaultTenant, p.revision)
	if err != nil {
		p.t.Fatal(err)
	}
	return done
}

// same fails if the users differ from these in anything but when they were created.
func (p *past) same(want []pbx.User) {
	p.t.Helper()
	options := []cmp.Option{
		cmpopts.IgnoreFields(pbx.User{}, "CreatedAt", "UpdatedAt", "Version"), cmpopts.IgnoreFields(pbx.Extension{}, "ID", "CreatedAt"),
		cmp.Comparer(func(a, b pbx.Secret) bool { return a.Reveal() == b.Reveal() }),
	}
	if diff := cmp.Diff(want, p.list(), options...); diff != "" {
		p.t.Error(diff)
	}
}

func TestTheUsersOfARevisionAreRestoredAsTheyWere(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		p.remove(p.users[0])
		p.remove(p.users[1])
		newOwner := p.create(10) // of the number 1000
		p.remove(newOwner)
		newOwner = p.create(11)
		p.remove(p.create(12)) // has the number 1001 for a moment
		later := p.create(13)
		extra := p.create(14)
		done := p.restore()
		p.same(p.users)
		if numbers := numbersOf(done.Deleted); !slices.Equal(numbers, numbersOf([]pbx.User{newOwner, later, extra})) {
			t.Errorf("deleted %v", numbers)
		}
		if numbers := numbersOf(done.Created); !slices.Equal(numbers, []pbx.Number{1000, 1001}) || done.NewSecrets != nil || done.Unknown != nil {
			t.Errorf("created %v, new secrets %v, unknown %v", numbers, done.NewSecrets, done.Unknown)
		}
		events, err := p.store.EventsBefore(t.Context(), store.EventQuery{Action: pbx.ActionUserCreate}, 0, 1)
		if err != nil || len(events) != 1 || events[0].Event.After["revision"] != "7" || events[0].Event.Object.ID != string(p.users[1].ID) {
			t.Errorf("the event of the last one created is %+v, error %v", events, err)
		}
		if again := p.restore(); !cmp.Equal(again, directory.Restored{}) {
			t.Errorf("the second time something is changed: %+v", again)
		}
		// The restored users can be deleted and restored like any other.
		p.remove(p.users[1])
		p.restore()
		p.same(p.users)
	})
}

func TestADeletedUserIsRestoredWithTheFurtherPhonesOfTheRevision(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		u := p.users[0]
		for _, name := range []string{"Desk", "Mobile", "Door"} {
			var err error
			if u, _, err = p.AddDevice(t.Context(), pbx.DefaultTenant, u.ID, 0, name); err != nil {
				t.Fatal(err)
			}
		}
		desk, door := u.Devices[0], u.Devices[2] // the other one was added after the revision
		p.revision.At = time.Now()
		p.revision.Phones = map[pbx.Number]map[int]pbx.Secret{1000: {desk.Suffix: desk.Secret, door.Suffix: {}}}
		p.remove(u)
		done := p.restore()
		got := p.list()[0]
		if phonesOf(got) != "1000, 1000-2 Desk, 1000-4 Door" || got.Devices[0].Secret != desk.Secret || got.Devices[1].Secret == door.Secret || got.Devices[1].Secret.Reveal() == "" ||
			got.Extension.Secret != u.Extension.Secret || !slices.Equal(done.NewSecrets, []pbx.Number{1000}) || !done.Created[0].Same(got) {
			t.Errorf("restored %s, new secrets of %v", phonesOf(got), done.NewSecrets)
		}
		if n, err := p.store.Uncovered(t.Context()); n != 0 || err != nil {
			t.Errorf("%d users have no hash, error %v", n, err)
		}
		if e := noted(t, p.store); e.Action != pbx.ActionDeviceCreate || e.After["phone_2"] != "Desk" || e.After["phone_4"] != "Door" || e.After["revision"] != "7" {
			t.Errorf("the event is %+v", e)
		}
	})
}

func numbersOf(users []pbx.User) (all []pbx.Number) {
	for _, u := range users {
		all = append(all, u.Extension.Number)
	}
	return all
}

func TestUsersOfARevisionWithoutSecretsGetNewOnes(t *testing.T) {
	t.Parallel()
	p := newPast(t, storetest.SQLite(t))
	for n := range p.revision.Secrets {
		p.revision.Secrets[n] = pbx.Secret{}
	}
	p.remove(p.users[1])
	done := p.restore()
	restored := p.list()[1]
	if !slices.Equal(done.NewSecrets, []pbx.Number{1001}) || restored.ID != p.users[1].ID || restored.Extension.Secret.Reveal() == p.users[1].Extension.Secret.Reveal() {
		t.Errorf("new secrets of %v; 1001 is %+v", done.NewSecrets, restored)
	}
}

func TestAUserOfARevisionWhoseDeletionIsNotInTheAuditTrailIsReported(t *testing.T) {
	t.Parallel()
	p := newPast(t, storetest.SQLite(t))
	p.revision.Secrets[1500] = pbx.NewSecret()
	p.remove(p.users[2])
	if done := p.restore(); !slices.Equal(done.Unknown, []pbx.Number{1500}) || len(done.Created) != 1 {
		t.Errorf("%+v", done)
	}
	p.same(p.users)
}

func TestUsersAreNotRestoredIfAnotherOneHasTheirAddress(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		p.remove(p.users[2])
		p.revision.Secrets[1002] = p.users[2].Extension.Secret
		p.create(20) // takes 1002
		heir, err := p.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "Heir", Email: strings.ToUpper(p.users[2].Email)})
		if err != nil {
			t.Fatal(err)
		}
		p.revision.Secrets[heir.Extension.Number] = heir.Extension.Secret // so that this one stays
		before := p.list()
		_, err = p.Restore(t.Context(), pbx.DefaultTenant, p.revision)
		if pbx.CodeOf(err) != pbx.CodeEmailTaken || pbx.KindOf(err) != pbx.KindConflict || !strings.Contains(err.Error(), "(1002)") {
			t.Errorf("error %v", err)
		}
		p.same(before)
	})
}

// archive removes all events from the audit trail, as if they had been archived.
func (p *past) archive() {
	p.t.Helper()
	head, err := p.store.EventHead(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	err = p.store.InTx(p.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := tx.AppendEvent(ctx, pbx.NewAuditEvent(ctx, time.Now(), pbx.ActionAuditArchive, pbx.AuditObject{Type: "audit", ID: head.Hash.String()})); err != nil {
			return err
		}
		if err := tx.InsertSegment(ctx, store.Segment{First: 1, Last: head, At: time.Now(), Key: []byte("key"), Signature: []byte("signature")}); err != nil {
			return err
		}
		return tx.DeleteArchived(ctx, head.Seq)
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// Without the event of the first deletion, the user of a later one with the same number would be taken for that of the revision.
func TestAfterEventsWereArchivedOnlyUsersAreRestoredThatTheirSecretsIdentify(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		p.Directory = p.WithFingerprints(func(s pbx.Secret) (string, error) { return "fingerprint of " + s.Reveal(), nil })
		p.create(3)
		p.revision.At = time.Now()
		p.users = p.list()
		p.revision.Secrets[1003] = p.users[3].Extension.Secret
		p.remove(p.users[0])
		p.remove(p.users[1])
		p.remove(p.create(10)) // had 1000 for a moment
		heir := p.create(11)   // has 1000
		p.archive()
		p.remove(p.create(12)) // had 1001 for a moment
		p.remove(p.users[2])
		p.create(13) // has 1001
		p.create(14) // has 1002
		p.remove(p.list()[1])
		done := p.restore()
		if !slices.Equal(done.Unknown, []pbx.Number{1000, 1001}) || !slices.Equal(numbersOf(done.Created), []pbx.Number{1002}) || !slices.Equal(numbersOf(done.Deleted), []pbx.Number{1002}) {
			t.Errorf("unknown %v, created %v, deleted %v", done.Unknown, numbersOf(done.Created), numbersOf(done.Deleted))
		}
		p.same([]pbx.User{heir, p.users[2], p.users[3]})
		if again := p.restore(); !slices.Equal(again.Unknown, []pbx.Number{1000, 1001}) || again.Created != nil || again.Deleted != nil {
			t.Errorf("the second time something is changed: %+v", again)
		}
	})
}

func TestUsersWhoWereChangedSinceARevisionGetTheirNumbersBackAndNoneOfThemIsDeleted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		d := directory.New(s, time.Now)
		var users []pbx.User
		for i := range 5 {
			u, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(i))
			if err != nil {
				t.Fatal(err)
			}
			users = append(users, u)
		}
		change := func(i int, patch func(*pbx.User)) {
			t.Helper()
			if _, err := d.Change(t.Context(), pbx.DefaultTenant, users[i].ID, 0, func(u *pbx.User) error { patch(u); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		change(4, func(u *pbx.User) { u.Disabled = true }) // has no phone in the revision
		revision := pbx.RevisionUsers{Revision: 3, At: time.Now(), Secrets: map[pbx.Number]pbx.Secret{}}
		for _, u := range users[:4] {
			revision.Secrets[u.Extension.Number] = u.Extension.Secret
		}
		change(0, func(u *pbx.User) { u.Extension.Number = 5000 })
		change(1, func(u *pbx.User) { u.Disabled = true })
		change(2, func(u *pbx.User) { u.Extension.Number = 5001 })
		change(4, func(u *pbx.User) { u.Disabled = false })
		if _, err := d.Delete(t.Context(), pbx.DefaultTenant, users[2].ID); err != nil {
			t.Fatal(err)
		}
		done, err := d.Restore(t.Context(), pbx.DefaultTenant, revision)
		if err != nil || len(done.Deleted) != 0 || len(done.Created) != 1 || len(done.Changed) != 3 || len(done.Unknown) != 0 {
			t.Fatalf("%d deleted, %d created, %d changed, %v unknown, error %v", len(done.Deleted), len(done.Created), len(done.Changed), done.Unknown, err)
		}
		now, err := d.List(t.Context(), pbx.DefaultTenant, directory.Query{})
		if err != nil || len(now.Users) != 5 {
			t.Fatalf("%d users, error %v", len(now.Users), err)
		}
		for i, u := range now.Users {
			if u.ID != users[i].ID || u.Extension.Number != users[i].Extension.Number || u.Disabled != (i == 4) {
				t.Errorf("%d: number %d, disabled %t, id %s instead of %s", i, u.Extension.Number, u.Disabled, u.ID, users[i].ID)
			}
		}
	})
}

// A number that one user of the revision handed over is that of the former user, whoever has it now: nobody of the revision is deleted.
func TestNumbersThatWereHandedOverGoBackToTheirFormerUsers(t *testing.T) {
	t.Parallel()
	for what, tc := range map[string]struct {
		of int
		h  func(users []pbx.User) directory.HandOver
	}{
		"exchange":                {0, func(u []pbx.User) directory.HandOver { return directory.HandOver{To: u[1].ID, Number: 1001} }},
		"to another":              {0, func(u []pbx.User) directory.HandOver { return directory.HandOver{To: u[1].ID} }},
		"to another, and a lower": {1, func(u []pbx.User) directory.HandOver { return directory.HandOver{To: u[0].ID, Number: 20} }},
		"of one who leaves":       {0, func(u []pbx.User) directory.HandOver { return directory.HandOver{To: u[1].ID, Leaves: true} }},
		"to a new user": {1, func([]pbx.User) directory.HandOver {
			return directory.HandOver{New: &pbx.NewUser{Name: "Dora", EmailOptional: true}}
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, url string) {
				p := newPast(t, url)
				if _, err := p.HandOver(t.Context(), pbx.DefaultTenant, p.users[tc.of].ID, tc.h(p.users)); err != nil {
					t.Fatal(err)
				}
				p.restore()
				p.same(p.users)
				p.numbers() // checks the hashes
			})
		})
	}
}

// An If-Match with a version that a client read before the user was deleted must not match the restored one.
func TestARestoredUserHasAVersionThatTheUserNeverHad(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		for range 2 { // the second time it is deleted and restored once more
			last := p.list()[0].Version
			for range 3 {
				u, err := p.NewSecret(t.Context(), pbx.DefaultTenant, p.users[0].ID, last)
				if err != nil {
					t.Fatal(err)
				}
				last, p.revision.Secrets[1000] = u.Version, u.Extension.Secret
			}
			p.revision.At = time.Now()
			p.remove(p.users[0])
			p.restore()
			if u := p.list()[0]; u.ID != p.users[0].ID || u.Version <= last {
				t.Errorf("the user %s has the version %d, and had %d", u.ID, u.Version, last)
			}
			if _, err := p.DeleteVersion(t.Context(), pbx.DefaultTenant, p.users[0].ID, last); pbx.CodeOf(err) != pbx.CodeChangedMeanwhile {
				t.Errorf("a deletion with the version from before: error %v", err)
			}
		}
	})
}

func TestUsersOfARevisionWhoExchangedTheirNumbersGetThemBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		move := func(i int, n pbx.Number) {
			t.Helper()
			p.change(p.users[i], func(u *pbx.User) { u.Extension.Number = n })
		}
		if _, err := p.HandOver(t.Context(), pbx.DefaultTenant, p.users[0].ID, directory.HandOver{To: p.users[1].ID, Number: 1001}); err != nil {
			t.Fatal(err)
		}
		if done := p.restore(); !slices.Equal(numbersOf(done.Changed), []pbx.Number{1001, 1000}) {
			t.Errorf("changed %v", numbersOf(done.Changed))
		}
		p.same(p.users)
		move(1, 900)
		move(0, 1001)
		p.remove(p.users[2])
		move(0, 1002)
		p.restore()
		p.same(p.users)
		if n, err := p.store.Uncovered(t.Context()); n != 0 || err != nil {
			t.Errorf("%d users have no hash, error %v", n, err)
		}
		// What has the number now is named.
		move(0, 900)
		group := &pbx.RingGroup{Number: "1000", Members: []pbx.UserID{p.users[1].ID}, Fallback: pbx.Destination{Kind: pbx.Hangup}}
		if _, err := routing.New(p.store, time.Now).Create(t.Context(), pbx.DefaultTenant, "Sales", group); err != nil {
			t.Fatal(err)
		}
		const want = `the number 1000, which "User 0" had, is taken: the ring group "Sales" has it; nothing was changed: change or delete that first`
		if _, err := p.Restore(t.Context(), pbx.DefaultTenant, p.revision); pbx.CodeOf(err) != pbx.CodeNumberTaken || err.Error() != want {
			t.Errorf("error %v", err)
		}
	})
}

func TestUsersCreatedSinceARevisionAreDeletedAlsoIfCallsGoOnToThem(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		p.change(p.users[0], func(u *pbx.User) { u.Calls.WhenBusy = toUser(p.users[2]) })
		p.revision.At, p.users = time.Now(), p.list()
		first, second := p.create(7), p.create(8)
		p.change(p.users[0], func(u *pbx.User) { u.Calls.WhenBusy, u.Calls.WhenUnanswered = toUser(first), toUser(second) })
		p.change(first, func(u *pbx.User) { u.Calls.WhenBusy = toUser(second) })
		p.change(second, func(u *pbx.User) { u.Calls.WhenBusy = toUser(first) })
		p.remove(p.users[2])
		if done := p.restore(); len(done.Deleted) != 2 || len(done.Changed) != 1 || len(done.Created) != 1 {
			t.Errorf("%d deleted, %d changed, %d created", len(done.Deleted), len(done.Changed), len(done.Created))
		}
		p.same(p.users)
	})
}

// Otherwise their phones could register again.
func TestUsersWhoWereDisabledInTheRevisionAreCreatedAgainDisabled(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		disable := func(disabled bool) func(*pbx.User) { return func(u *pbx.User) { u.Disabled = disabled } }
		p.change(p.users[0], disable(true))
		p.change(p.users[1], disable(true))
		p.revision.At = time.Now()
		p.revision.Secrets[1000], p.revision.Secrets[1001] = pbx.Secret{}, pbx.Secret{} // the files have none of them
		p.change(p.users[1], disable(false))
		p.change(p.users[2], disable(true))
		for _, u := range p.users {
			p.remove(u)
		}
		done := p.restore()
		for i, u := range p.list() {
			if u.ID != p.users[i].ID || u.Disabled != (i < 2) || done.Created[i].Disabled != u.Disabled {
				t.Errorf("%s: disabled %t; reported as %+v", u.Name, u.Disabled, done.Created[i])
			}
		}
		if e := noted(t, p.store); e.After["enabled"] != "" {
			t.Errorf("the event of one who was enabled is %+v", e)
		}
		if n, err := p.store.Uncovered(t.Context()); n != 0 || err != nil {
			t.Errorf("%d users have no hash, error %v", n, err)
		}
	})
}
