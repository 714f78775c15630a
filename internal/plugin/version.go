package plugin

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (p *plugin) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this plugin",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.Out, "%s\n", p.VersionText)
			return err
		},
	}
}
