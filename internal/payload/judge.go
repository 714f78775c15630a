package payload

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template/parse"
)

const accessToken = "AccessToken"

var fieldNames = []string{accessToken, "TokenType", "Scope", "ExpiresAt", "Environment"}

// judgement is the state of judge while it walks the parse tree.
type judgement struct {
	uses   int    // how often the access token is used so far
	inWith bool   // inside with, "." no longer holds the fields
	called string // the first function that the access token is an argument of
}

// verdict is what is known of a template that is not refused.
type verdict struct {
	// bare is the index of the top-level node that is the first use of the token, if that is a bare {{ .AccessToken }}, else -1.
	bare int
	// onlyIn is the function that the token is an argument of, if all of its uses are such actions, else empty.
	onlyIn string
}

// judge refuses a template whose outcome could depend on the access token.
//
// The access token may only be printed, as it is or by a function that cannot fail. No condition and no variable ever
// holds it, so which nodes are executed, and whether one fails, depends on the other fields alone.
func judge(root *parse.ListNode) (verdict, error) {
	j, v, onlyCalls := &judgement{}, verdict{bare: -1}, true
	for i, node := range root.Nodes {
		before := j.uses
		if err := j.node(node); err != nil {
			return verdict{bare: -1}, err
		}
		if j.uses == before {
			continue
		}
		if before == 0 && isBare(node) {
			v.bare = i
		}
		_, isAction := node.(*parse.ActionNode)
		onlyCalls = onlyCalls && isAction && !isBare(node)
	}
	if onlyCalls {
		v.onlyIn = j.called
	}
	return v, nil
}

func isBare(node parse.Node) bool {
	action, ok := node.(*parse.ActionNode)
	if !ok || len(action.Pipe.Cmds) != 1 || len(action.Pipe.Cmds[0].Args) != 1 {
		return false
	}
	switch action.Pipe.Cmds[0].Args[0].(type) {
	case *parse.FieldNode, *parse.VariableNode:
		return true
	}
	return false
}

func (j *judgement) list(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		if err := j.node(node); err != nil {
			return err
		}
	}
	return nil
}

// node also refuses range and template: a range over a number, or templates that call each other, could keep the operator
// busy forever.
func (j *judgement) node(node parse.Node) error {
	switch n := node.(type) {
	case *parse.TextNode:
		return nil
	case *parse.ActionNode:
		_, err := j.pipe(n.Pipe)
		return err
	case *parse.IfNode:
		return j.branch("if", &n.BranchNode)
	case *parse.WithNode:
		return j.branch("with", &n.BranchNode)
	case *parse.RangeNode:
		return errors.New("range is not supported: there is nothing to range over")
	case *parse.TemplateNode:
		return errors.New("template and block are not supported")
	}
	return fmt.Errorf("%s is not supported", node)
}

func (j *judgement) branch(word string, n *parse.BranchNode) error {
	hasToken, err := j.pipe(n.Pipe)
	switch {
	case err != nil:
		return err
	case hasToken:
		return errNotIn(word)
	}
	outside := j.inWith
	j.inWith = outside || word == "with"
	err = j.list(n.List)
	j.inWith = outside
	if err != nil {
		return err
	}
	return j.list(n.ElseList)
}

func errNotIn(word string) error {
	return fmt.Errorf(".AccessToken cannot be used in %s: write it by itself, as {{ .AccessToken }}, or as an argument of printf, print, urlquery, html or js", word)
}

// pipe reports whether the result of a pipeline holds the access token.
func (j *judgement) pipe(pipe *parse.PipeNode) (hasToken bool, err error) {
	for i, command := range pipe.Cmds {
		if hasToken, err = j.command(command, i > 0, hasToken); err != nil {
			return false, err
		}
	}
	for _, variable := range pipe.Decl {
		switch {
		case variable.Ident[0] == "$":
			return false, errors.New("$ cannot be set: use a variable with a name")
		case hasToken:
			return false, fmt.Errorf(".AccessToken cannot be assigned to %s: write {{ .AccessToken }} where it is needed", variable)
		}
	}
	return hasToken, nil
}

// command reports whether the result of a command holds the access token. If it is piped, hasToken says whether the result of
// the command before it does.
func (j *judgement) command(command *parse.CommandNode, piped, hasToken bool) (bool, error) {
	for _, arg := range command.Args {
		has, err := j.operand(arg)
		if err != nil {
			return false, err
		}
		hasToken = hasToken || has
	}
	function, ok := command.Args[0].(*parse.IdentifierNode)
	switch {
	case !ok && (piped || len(command.Args) > 1):
		return false, fmt.Errorf("%s is not a function, and takes no arguments", command.Args[0])
	case ok && hasToken:
		j.called = cmp.Or(j.called, function.Ident)
		return true, checkCall(function.Ident, command.Args[1:])
	}
	return hasToken, nil
}

// checkCall refuses a call over the access token that could fail.
func checkCall(function string, args []parse.Node) error {
	switch function {
	case "print", "urlquery", "html", "js":
		return nil
	case "printf":
		return checkFormat(args)
	}
	return errNotIn(function)
}

// checkFormat requires the format to be written in the template. If it were computed, the access token could be part of it,
// and it would depend on the token whether its widths are within the limit.
func checkFormat(args []parse.Node) error {
	if len(args) > 0 {
		if format, ok := args[0].(*parse.StringNode); ok {
			return checkWidth(format.Text)
		}
	}
	return errors.New(`printf needs a literal format to print .AccessToken, for example {{ printf "Bearer %s" .AccessToken }}`)
}

// operand reports whether an operand holds the access token. "." and "$" hold all fields, so they are refused unless a field
// follows.
func (j *judgement) operand(node parse.Node) (hasToken bool, err error) {
	switch n := node.(type) {
	case *parse.DotNode:
		return false, errAlone(".")
	case *parse.FieldNode:
		return j.field(n, n.Ident)
	case *parse.VariableNode:
		return j.variable(n)
	case *parse.PipeNode:
		return j.pipe(n)
	case *parse.ChainNode:
		return false, errNoField(n)
	}
	return false, nil
}

func (j *judgement) variable(n *parse.VariableNode) (hasToken bool, err error) {
	switch {
	case n.Ident[0] != "$" && len(n.Ident) == 1:
		return false, nil
	case n.Ident[0] != "$":
		return false, errNoField(n)
	case len(n.Ident) == 1:
		return false, errAlone("$")
	}
	return j.field(n, n.Ident[1:])
}

func (j *judgement) field(node parse.Node, path []string) (hasToken bool, err error) {
	_, ofDot := node.(*parse.FieldNode)
	switch {
	case len(path) > 1 || !slices.Contains(fieldNames, path[0]):
		return false, errNoField(node)
	case ofDot && j.inWith:
		return false, fmt.Errorf("%s cannot be used inside with: write $%[1]s", node)
	case path[0] == accessToken:
		j.uses++
		return true, nil
	}
	return false, nil
}

func errAlone(root string) error {
	return fmt.Errorf("%s cannot stand alone: write a field, for example $.Scope", root)
}

func errNoField(node parse.Node) error {
	if like := fieldLike(strings.TrimPrefix(node.String(), ".")); like != "" {
		return fmt.Errorf("%s is not a field: write .%s", node, like)
	}
	return fmt.Errorf("%s is not a field: use .AccessToken, .TokenType, .Scope, .ExpiresAt or .Environment", node)
}
