package plugin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
)

type listOptions struct {
	*plugin
	selection
	watch   bool
	bare    bool // without heads
	columns screen.Columns
	print   *genericclioptions.PrintFlags
	printer printers.ResourcePrinter // nil: a table
}

func (p *plugin) list() *cobra.Command {
	o := &listOptions{plugin: p, print: genericclioptions.NewPrintFlags("").WithTypeSetter(scheme)}
	command := &cobra.Command{
		Use:        "list",
		SuggestFor: []string{"get", "ls"},
		Short:      "List PayUTokens, the worst first",
		Long: `List PayUTokens, the worst first, then by expiry.

LIFETIME shows how much of the token's lifetime has passed; the line in it marks the renewal. REASON is the reason of the
deciding condition or, if the clock shows more than the status, one of: Expired, Overdue (the renewal is overdue), NotSeen
(no operator has reconciled the PayUToken), Waiting (the operator has not reconciled the current spec yet).`,
		Example: `  kubectl payutoken list -A
  kubectl payutoken list -n shop -w
  kubectl payutoken list -l team=payments -o wide`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return o.run(command.Context()) },
	}
	o.addSelector(command)
	command.Flags().BoolVar(&o.bare, "no-headers", false, "without the line of headers")
	command.Flags().BoolVarP(&o.watch, "watch", "w", false, "keep the list up to date")
	addPrintFlags(command, o.print)
	command.Flag("output").Usage = strings.Replace(command.Flag("output").Usage, "(", "(wide, ", 1)
	return command
}

func (o *listOptions) run(ctx context.Context) error {
	if err := o.complete(); err != nil {
		return err
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	if o.watch {
		return o.runWatch(ctx, c)
	}
	list := &v1alpha1.PayUTokenList{}
	if err := c.List(ctx, list, o.options(c)...); err != nil {
		return err
	}
	screen.Sort(list.Items, o.Clock.Now())
	if o.printer != nil {
		return o.printList(list)
	}
	if len(list.Items) == 0 {
		_, err := fmt.Fprintf(o.ErrOut, "There is no PayUToken %s.\n", o.where(c))
		return err
	}
	return o.show(o.table(list.Items))
}

// table shows PayUTokens, with headers or without.
func (o *listOptions) table(tokens []v1alpha1.PayUToken) screen.Page {
	page := screen.List(tokens, o.Clock.Now(), o.columns)
	if o.bare {
		return page.Without(1)
	}
	return page
}

// complete validates the flags.
func (o *listOptions) complete() error {
	o.columns.Namespace = o.allNamespaces
	switch *o.print.OutputFormat {
	case "":
	case "wide":
		o.columns.Wide = true
	default:
		var err error
		if o.printer, err = o.print.ToPrinter(); err != nil {
			return fmt.Errorf("%w,wide", err)
		}
	}
	return o.validateSelector()
}

// printList prints a list for a program. It prints names one by one.
func (o *listOptions) printList(list *v1alpha1.PayUTokenList) error {
	if *o.print.OutputFormat != "name" {
		return o.printer.PrintObj(list, o.Out)
	}
	for i := range list.Items {
		if err := o.printer.PrintObj(&list.Items[i], o.Out); err != nil {
			return err
		}
	}
	return nil
}

// runWatch redraws the list on a terminal. Otherwise it prints the list, then each change.
func (o *listOptions) runWatch(ctx context.Context, c *cluster) error {
	feed, err := c.follow(ctx, o.options(c)...)
	if err != nil {
		return err
	}
	if o.printer == nil && o.Terminal != nil {
		return o.draw(ctx, feed)
	}
	seen := map[types.UID]string{}
	for {
		if err := o.printChanges(feed, seen); err != nil {
			return err
		}
		select {
		case <-feed.changed:
		case err := <-feed.trouble:
			if isFinal(err) {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printChanges prints what changed; seen holds the resource versions that were printed.
func (o *listOptions) printChanges(feed *feed, seen map[types.UID]string) error {
	tokens := feed.tokens()
	screen.Sort(tokens, o.Clock.Now())
	lines := screen.List(tokens, o.Clock.Now(), o.columns).Render(screen.Style{})
	for i := range tokens {
		if seen[tokens[i].UID] == tokens[i].ResourceVersion {
			continue
		}
		if len(seen) == 0 && o.printer == nil && !o.bare {
			fmt.Fprintf(o.Out, "%s\n", lines[0])
		}
		seen[tokens[i].UID] = tokens[i].ResourceVersion
		if o.printer == nil {
			fmt.Fprintf(o.Out, "%s\n", lines[i+1])
		} else if err := o.printer.PrintObj(tokens[i].DeepCopy(), o.Out); err != nil {
			return err
		}
	}
	return nil
}

const (
	clearScreen = "\x1b[H\x1b[2J"
	homeCursor  = "\x1b[H"
	clearLine   = "\x1b[K" // to the right of the cursor
	clearBelow  = "\x1b[J"
)

// draw keeps the list on the screen. It redraws each second, since times pass without changes.
func (o *listOptions) draw(ctx context.Context, feed *feed) error {
	ticker := o.Clock.NewTicker(time.Second)
	defer ticker.Stop()
	trouble := ""
	fmt.Fprintf(o.Out, "%s", clearScreen)
	for {
		tokens := feed.tokens()
		screen.Sort(tokens, o.Clock.Now())
		width, height := o.Terminal.Size()
		o.columns.Width = width
		page := screen.Live(tokens, o.Clock.Now(), o.columns, trouble, height-1)
		lines := page.Render(screen.Style{Colour: o.colour(), Width: width})
		fmt.Fprintf(o.Out, "%s%s%s\n%s", homeCursor, strings.Join(lines, clearLine+"\n"), clearLine, clearBelow)
		select {
		case <-feed.changed:
		case <-ticker.C():
		case err := <-feed.trouble:
			if isFinal(err) {
				return err
			}
			trouble = ""
			if err != nil {
				trouble = explain(err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// show writes a page in one piece.
func (p *plugin) show(page screen.Page) error {
	_, err := fmt.Fprintf(p.Out, "%s\n", strings.Join(page.Render(screen.Style{Colour: p.colour()}), "\n"))
	return err
}

func (p *plugin) colour() bool { return p.Terminal != nil && p.Terminal.Colour }
