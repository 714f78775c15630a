package gitops_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// runLua runs a script as Argo CD does: with the base, package and table libraries only, os.time and os.date for those who
// require "os", the object in the global obj, and for a second at most.
func runLua(t *testing.T, script string, u *unstructured.Unstructured) any {
	t.Helper()
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		lab.Check(t, l.CallByParam(lua.P{Fn: l.NewFunction(library.open), Protect: true}, lua.LString(library.name)))
	}
	l.PreloadModule(lua.OsLibName, timeOnly)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	l.SetContext(ctx)
	l.SetGlobal("obj", toLua(l, u.Object))
	if err := l.DoString(script); err != nil {
		t.Fatalf("%v\n%s", err, script)
	}
	return fromLua(l.Get(-1), u.Object)
}

// timeOnly is the os library without what could do harm.
func timeOnly(l *lua.LState) int {
	whole := lua.NewState()
	defer whole.Close()
	library, module := whole.GetGlobal(lua.OsLibName).(*lua.LTable), l.NewTable()
	for _, name := range []string{"time", "date"} {
		module.RawSetString(name, l.NewFunction(library.RawGetString(name).(*lua.LFunction).GFunction))
	}
	l.Push(module)
	return 1
}

func toLua(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case nil:
		return lua.LNil
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		table := l.NewTable()
		for _, item := range v {
			table.Append(toLua(l, item))
		}
		return table
	case map[string]any:
		table := l.NewTable()
		for key, item := range v {
			table.RawSetString(key, toLua(l, item))
		}
		return table
	default:
		panic(fmt.Sprintf("no Lua value for %T", value))
	}
}

// fromLua returns what Argo CD makes of a script's result. Lua does not tell an empty object from an empty list: it is what
// it was in the object before, and a list if it was not there.
func fromLua(value lua.LValue, before any) any {
	switch v := value.(type) {
	case lua.LBool:
		return bool(v)
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return float64(v)
	case *lua.LTable:
		return fromTable(v, before)
	default:
		return nil
	}
}

func fromTable(table *lua.LTable, before any) any {
	object, wasObject := before.(map[string]any)
	list, _ := before.([]any)
	if table.Len() > 0 || !wasObject && isEmpty(table) {
		items := []any{}
		for i := 1; i <= table.Len(); i++ {
			var item any
			if i <= len(list) {
				item = list[i-1]
			}
			items = append(items, fromLua(table.RawGetInt(i), item))
		}
		return items
	}
	result := map[string]any{}
	table.ForEach(func(key, value lua.LValue) { result[key.String()] = fromLua(value, object[key.String()]) })
	return result
}

func isEmpty(table *lua.LTable) bool {
	key, _ := table.Next(lua.LNil)
	return key == lua.LNil
}
