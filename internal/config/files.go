package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SystemFiles returns the settings files of the service, of which the first that exists counts: the second is for earlier versions.
func SystemFiles() []string { return []string{"/etc/pbxportal/pbxportal.env", "/etc/pbxportal/.env"} }

// FolderFile is the settings file in the current folder.
const FolderFile = ".env"

// File is a settings file.
type File struct {
	Path   string
	Values map[string]string
}

// Files are the settings files that a command reads, the most important first.
type Files struct {
	Read []File
	// Closed is the error of a settings file of the service that this user cannot read; nil if there is none.
	Closed error
}

// ReadFiles reads the settings of the current folder and those of the service, or only the chosen file if there is one. A relative path in a file is
// relative to the folder of that file, so that it means the same wherever a command is run.
func ReadFiles(chosen string, system []string, getenv func(string) (string, bool)) (files Files, err error) {
	if chosen != "" {
		if _, err := os.Stat(chosen); err != nil {
			return files, fmt.Errorf("cannot read the settings: %w", err)
		}
		return files, files.read(chosen, getenv)
	}
	// A folder that the caller cannot enter, such as root's home under runuser, has no settings for the caller.
	if _, err := os.Lstat(FolderFile); !errors.Is(err, fs.ErrPermission) {
		err := files.read(FolderFile, getenv)
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: run the command in another folder, or name other settings with --config FILE", err)
		}
		if err != nil {
			return files, err
		}
	}
	for _, path := range system {
		if len(files.Read) > 0 && same(path, FolderFile) {
			break
		}
		before := len(files.Read)
		err := files.read(path, getenv)
		switch {
		case errors.Is(err, fs.ErrPermission):
			files.Closed = fmt.Errorf("%w: run the command as the service's user (runuser -u pbxportal -- pbxportal …), or name other settings with --config FILE", err)
			return files, nil
		case err != nil:
			return files, err
		case len(files.Read) > before:
			return files, nil
		}
	}
	return files, nil
}

// read adds a file if it exists.
func (f *Files) read(path string, getenv func(string) (string, bool)) error {
	values, err := Dotenv(path, getenv)
	if err != nil || values == nil {
		return err
	}
	if folder := filepath.Dir(path); folder != "." {
		for name, value := range values {
			values[name] = fromFolder(folder, name, value)
		}
	}
	f.Read = append(f.Read, File{absolute(path), values})
	return nil
}

// same reports whether two paths lead to the same file.
func same(a, b string) bool {
	one, err := os.Stat(a)
	other, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(one, other)
}

// fromFolder returns the value of a setting in a file in the folder; a relative path is made relative to the current folder.
func fromFolder(folder, name, value string) string {
	relative := func(path string) bool { return path != "" && !filepath.IsAbs(path) }
	switch name {
	case "STATE_DIR", "ASTERISK_CONFIG_DIR", "TLS_CERT", "TLS_KEY", "SECRET_KEY_FILE", "OIDC_CLIENT_SECRET_FILE", "AMI_SECRET_FILE":
		if relative(value) {
			return filepath.Join(folder, value)
		}
	case "ASTERISK_CONTROL":
		if relative(value) && !strings.HasPrefix(value, "exec:") {
			return filepath.Join(folder, value)
		}
	case "DATABASE_URL":
		if path, ok := strings.CutPrefix(value, "sqlite:///"); ok && relative(path) {
			if abs, err := filepath.Abs(filepath.Join(folder, path)); err == nil {
				return "sqlite:///" + abs
			}
		}
	}
	return value
}

// Value returns the value of a setting and the path of its file; "" if no file has it.
func (f Files) Value(name string) (value, path string) {
	for _, file := range f.Read {
		if v := file.Values[name]; v != "" {
			return v, file.Path
		}
	}
	return "", ""
}

// Conflict returns an error if two files name different databases or state folders: combined they would mix two installations. A value set elsewhere
// resolves it.
func (f Files) Conflict(elsewhere func(name string) bool) error {
	for _, c := range []struct {
		what, by string
		named    func(File) string
	}{
		{"databases", "DATABASE_URL", File.database}, {"state folders", "STATE_DIR", func(f File) string { return absolute(f.Values["STATE_DIR"]) }},
	} {
		named := slices.DeleteFunc(slices.Clone(f.Read), func(f File) bool { return c.named(f) == "" })
		if len(named) == 2 && c.named(named[0]) != c.named(named[1]) && !elsewhere(c.by) {
			return fmt.Errorf("%s and %s name different %s: run the command in another folder, use one of them alone with --config FILE, or set %s in the environment",
				named[0].Path, named[1].Path, c.what, c.by)
		}
	}
	return nil
}

// Other returns the path of a file that names another database than url; "" if there is none.
func (f Files) Other(url string) string {
	for _, file := range f.Read {
		if other := file.database(); other != "" && other != canonical(url) {
			return file.Path
		}
	}
	return ""
}

// database returns which database the file names by itself, "" if none: also the SQLite file in a state folder that it names.
func (f File) database() string {
	url, dir := f.Values["DATABASE_URL"], f.Values["STATE_DIR"]
	if url == "" && dir != "" {
		url = inStateDir(absolute(dir))
	}
	return canonical(url)
}

// inStateDir returns the database of a state folder.
func inStateDir(dir string) string { return "sqlite:///" + filepath.Join(dir, "portal.db") }

// canonical returns a database URL in a form in which equal ones are equal.
func canonical(url string) string {
	if path, ok := strings.CutPrefix(url, "sqlite:///"); ok {
		return "sqlite:///" + absolute(path)
	}
	return url
}

func absolute(path string) string {
	if path == "" {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
