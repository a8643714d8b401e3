package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	api "github.com/synergycall/pbxportal/internal/httpapi/clienttest"
)

func TestAClientGeneratedFromTheContractManagesUsersAndRingGroups(t *testing.T) {
	t.Parallel()
	srv := newSettings(t).serve(t)
	client, err := api.NewClientWithResponses(srv.url, api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+srv.token)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()

	var users []api.UserWithSecret
	for i, n := range []api.NewUserV1{{Name: "Anna", Email: new("anna@example.com")}, {Name: "Bert"}, {Name: "Cora"}, {Name: "Dora"}, {Name: "Emil"}} {
		params := &api.CreateUserV1Params{IdempotencyKey: new(fmt.Sprint(i))}
		a, err := client.CreateUserV1WithResponse(ctx, params, n)
		u := decoded[api.UserWithSecret](t, a, err, 201)
		again, err := client.CreateUserV1WithResponse(ctx, params, n)
		if diff := cmp.Diff(u, decoded[api.UserWithSecret](t, again, err, 201)); diff != "" || u.Secret == nil || a.Headers201.ETag != `"1"` {
			t.Errorf("the same key (-first +again):\n%s", diff)
		}
		users = append(users, *u)
	}
	taken, err := client.CreateUserV1WithResponse(ctx, nil, api.NewUserV1{Name: "Anna", Email: new("ANNA@example.com")})
	if p := decoded[api.Problem](t, taken, err, 409); p.Code != api.ProblemCodeEmailTaken || p.RequestID == "" {
		t.Errorf("%+v", p)
	}
	invalid, err := client.CreateUserV1WithResponse(ctx, nil, api.NewUserV1{Name: " ", Email: new("x")})
	if p := decoded[api.Problem](t, invalid, err, 400); p.Code != api.ProblemCodeInvalidInput || p.Errors == nil || len(*p.Errors) != 2 {
		t.Errorf("%+v", p)
	}

	var listed []string
	for params := (&api.ListUsersV1Params{Limit: new(2), Total: new(true)}); ; {
		a, err := client.ListUsersV1WithResponse(ctx, params)
		page := decoded[api.UserPage](t, a, err, 200)
		for _, u := range page.Items {
			listed = append(listed, u.Name)
		}
		if page.Total == nil || *page.Total != 5 {
			t.Errorf("a page has the total %v", page.Total)
		}
		if params.Cursor = page.NextCursor; params.Cursor == nil {
			break
		}
	}
	if diff := cmp.Diff([]string{"Anna", "Bert", "Cora", "Dora", "Emil"}, listed); diff != "" {
		t.Errorf("all pages (-want +got):\n%s", diff)
	}

	anna := users[0].ID
	changed, err := client.UpdateUserV1WithApplicationMergePatchPlusJSONBodyWithResponse(ctx, anna, &api.UpdateUserV1Params{IfMatch: new(`"1"`)}, []byte(`{"name":"Anne","email":null}`))
	if u := decoded[api.UserV1](t, changed, err, 200); u.Name != "Anne" || u.Email != nil || u.Number != "1000" || changed.Headers200.ETag != `"2"` {
		t.Errorf("%+v %+v", u, changed.Headers200)
	}
	late, err := client.UpdateUserV1WithResponse(ctx, anna, &api.UpdateUserV1Params{IfMatch: new(`"1"`)}, []byte(`{"name":"Ann"}`))
	if p := decoded[api.Problem](t, late, err, 412); p.Code != api.ProblemCodeChangedMeanwhile {
		t.Errorf("%+v", p)
	}
	if same, err := client.GetUserV1WithResponse(ctx, anna, &api.GetUserV1Params{IfNoneMatch: new(`"2"`)}); err != nil || same.StatusCode() != 304 {
		t.Errorf("%v %v", same, err)
	}

	made, err := client.CreateRingGroupWithResponse(ctx, nil, api.NewRingGroup{
		Name: "Sales", Members: []string{anna, users[1].ID}, Fallback: &api.Destination{Kind: "user", ID: &users[2].ID},
	})
	group := decoded[api.RingGroup](t, made, err, 201)
	if group.Number != "600" || group.Strategy != api.All || !group.SkipBusy {
		t.Errorf("%+v", group)
	}
	slower, err := client.UpdateRingGroupWithResponse(ctx, group.ID, &api.UpdateRingGroupParams{IfMatch: &made.Headers201.ETag}, []byte(`{"strategy":"hunt","seconds":10}`))
	if g := decoded[api.RingGroup](t, slower, err, 200); g.Strategy != api.Hunt || g.Seconds != 10 || len(g.Members) != 2 {
		t.Errorf("%+v", g)
	}
	of, err := client.ListRingGroupsWithResponse(ctx, &api.ListRingGroupsParams{Member: &anna})
	if page := decoded[api.RingGroupPage](t, of, err, 200); len(page.Items) != 1 || page.Items[0].ID != group.ID || page.NextCursor != nil {
		t.Errorf("%+v", page)
	}
	call, err := client.SimulateCallWithResponse(ctx, nil, api.CallToSimulate{As: &users[4].ID, Dial: new("600"), Keys: &[]string{"no_answer", "answer"}})
	if s := decoded[api.Simulation](t, call, err, 200); len(s.Steps) != 4 || s.Steps[3].Thing.ID != users[1].ID || s.Sentence == "" || len(s.Faults) != 0 {
		t.Errorf("%+v", s)
	}

	used, err := client.DeleteUserV1WithResponse(ctx, users[2].ID, nil)
	if p := decoded[api.Problem](t, used, err, 409); p.Code != api.ProblemCodeInUse || p.Uses == nil || len(*p.Uses) != 1 || (*p.Uses)[0].ID != group.ID {
		t.Errorf("%+v", p)
	}
	if gone, err := client.DeleteRingGroupWithResponse(ctx, group.ID, nil); err != nil || gone.StatusCode() != 204 {
		t.Errorf("%v %v", gone, err)
	}
	for _, u := range users {
		if gone, err := client.DeleteUserV1WithResponse(ctx, u.ID, nil); err != nil || gone.StatusCode() != 204 {
			t.Errorf("%s: %v %v", u.Name, gone, err)
		}
	}
	unknown, err := client.GetUserV1WithResponse(ctx, anna, nil)
	if p := decoded[api.Problem](t, unknown, err, 404); p.Code != api.ProblemCodeUserNotFound || p.Status != 404 {
		t.Errorf("%+v", p)
	}
}

// decoded requires an answer of the generated client with a status, and returns its body as the client decoded it.
func decoded[Body any](t *testing.T, answer any, err error, status int) (body *Body) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(answer).Elem()
	got, _ := v.FieldByName("HTTPResponse").Interface().(*http.Response)
	text, _ := v.FieldByName("Body").Interface().([]byte)
	for i := range v.NumField() {
		if b, ok := v.Field(i).Interface().(*Body); ok && b != nil {
			body = b
		}
	}
	if got.StatusCode != status || body == nil {
		t.Fatalf("%s %s: %d %s, want %d and a %T", got.Request.Method, got.Request.URL, got.StatusCode, text, status, body)
	}
	return body
}
