package cli

import "github.com/alecthomas/kong"

// CommandPaths returns all commands, such as "user add".
func CommandPaths() (paths []string, err error) {
	parser, err := kong.New(&commands{}, kong.Exit(func(int) {}))
	if err != nil {
		return nil, err
	}
	for _, leaf := range parser.Model.Leaves(false) {
		path := ""
		for node := leaf; node.Parent != nil; node = node.Parent {
			path = node.Name + " " + path
		}
		paths = append(paths, path[:len(path)-1])
	}
	return paths, nil
}
