package regular_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/regular"
)

func TestARegularFileIsReadUpToItsLimitAndNoFurther(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	for size, limit := range map[int]int64{0: 0, 5: 5, 4096: 1 << 20, 5000: 5000} {
		if err := os.WriteFile(path, []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		content, info, err := regular.Read(path, limit)
		inside, insideErr := regular.ReadIn(filepath.Dir(path), "f", limit)
		if err != nil || insideErr != nil || len(content) != size || content == nil || len(inside) != size || inside == nil || info.Size() != int64(size) {
			t.Errorf("%d bytes of at most %d: %d and %d are read: %v %v", size, limit, len(content), len(inside), err, insideErr)
		}
		if size == 0 {
			continue
		}
		if _, _, err := regular.Read(path, int64(size)-1); !is(err, fmt.Sprintf("more than %d bytes", size-1)) {
			t.Errorf("%d bytes of at most one less: %v", size, err)
		}
	}
	if _, _, err := regular.Read("/proc/self/smaps", 100); !is(err, "more than 100 bytes") { // a file that has no size of its own
		t.Errorf("a file of the kernel of at most 100 bytes: %v", err)
	}
	if _, err := regular.All(strings.NewReader("12345"), 4); err == nil {
		t.Error("a stream is read beyond its limit")
	}
}

// is reports whether an error is one that says so, and what to do.
func is(err error, words string) bool {
	_, ok := errors.AsType[*regular.Error](err)
	return ok && strings.Contains(err.Error(), words) && strings.Contains(err.Error(), "move it away")
}

func TestWhatIsNoRegularFileIsNeitherReadNorWrittenNorWaitedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(
		unix.Mkfifo(at("pipe"), 0o600), unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0), os.Mkdir(at("folder"), 0o700), os.Symlink("/dev/zero", at("device")),
		os.Symlink("loop", at("loop")), os.Symlink("pipe", at("to pipe")), os.Symlink("secret", at("link")), os.Symlink("none", at("dangling")),
		os.WriteFile(at("secret"), []byte("secret"), 0o600), os.WriteFile(at("sparse"), nil, 0o600), os.Truncate(at("sparse"), 40<<30),
		os.Symlink("folder", at("to folder")), os.WriteFile(at("folder/f"), []byte("secret"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]string{ // when links are followed, and when not
		"pipe": {"a named pipe", "a named pipe"}, "socket": {"a socket", "a socket"}, "folder": {"a folder", "a folder"}, "device": {"a device", "a link to /dev/zero"},
		"to pipe": {"a named pipe", "a link to pipe"}, "loop": {"too many levels", "a link to loop"}, "dangling": {"no such file", "a link to none"},
		"sparse": {"more than 100 bytes", "more than 100 bytes"}, "link": {"", "a link to secret"}, "folder/f": {"", ""}, "to folder/f": {"", "a link to folder"},
		"secret/x": {"not a directory", "is a file, not a folder"}, "none/x": {"no such file", "no such file"},
	} {
		_, _, follows := regular.Read(at(name), 100)
		_, keeps := regular.ReadIn(dir, name, 100)
		for i, err := range []error{follows, keeps} {
			if (err == nil) != (want[i] == "") || err != nil && (!strings.Contains(err.Error(), want[i]) || !strings.Contains(err.Error(), dir)) {
				t.Errorf("%s: %v, want %q", name, err, want[i])
			}
		}
		for _, flags := range []int{os.O_WRONLY | os.O_APPEND | os.O_CREATE, os.O_RDWR | os.O_CREATE, os.O_RDONLY | syscall.O_NOFOLLOW} {
			f, _, err := regular.Open(at(name), flags)
			i := 0
			if flags&syscall.O_NOFOLLOW != 0 && !strings.Contains(name, "/") {
				i = 1
			}
			if name == "dangling" || name == "sparse" { // it may be made where the link leads; opening bounds no size
				_ = os.Remove(at("none"))
			} else if (err == nil) != (want[i] == "") {
				t.Errorf("%s opened with %#x: %v", name, flags, err)
			}
			if err == nil {
				_ = f.Close()
			}
		}
		if err := regular.Check(at(name)); (err == nil) != (want[0] == "" || name == "sparse" || strings.Contains(want[0], "no such")) {
			t.Errorf("%s: the check says %v", name, err)
		}
	}
	for name, want := range map[string]string{"folder": "", "to folder": "", "pipe": "not a folder", "secret": "not a folder", "none": "no such file", "loop": "too many levels"} {
		names, err := regular.Names(at(name), 10)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || err == nil && fmt.Sprint(names) != "[f]" {
			t.Errorf("the names in %s: %v %v, want %q", name, names, err, want)
		}
	}
	if content, err := os.ReadFile(at("secret")); err != nil || string(content) != "secret" {
		t.Errorf("a file was changed: %q %v", content, err)
	}
}

// The kernel's log is a regular file by its type, and a queue: reading it to its end waits for the next message.
func TestARegularFileThatIsAQueueIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	go func() {
		_, _, err := regular.Read("/proc/kmsg", 64<<20)
		read <- err
	}()
	select {
	case err := <-read:
		if err == nil {
			t.Error("it was read to an end")
		}
	case <-time.After(20 * time.Second):
		t.Error("it is waited for")
	}
}

// Opening a file on which another program has a lease would wait until the lease is released.
func TestAFileThatIsLeasedToAnotherIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	if _, _, err := regular.Read(path, 100); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("reading it gives %v", err)
	}
}

func TestAFolderWithMoreEntriesThanEverNeededIsNotListed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 11 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := regular.Names(dir, 11); len(names) != 11 || err != nil {
		t.Errorf("%d names and %v", len(names), err)
	}
	if names, err := regular.Names(dir, 10); !is(err, "a folder with more than 10 entries") {
		t.Errorf("%d names and %v", len(names), err)
	}
}
