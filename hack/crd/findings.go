package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// findings are the ways in which a CRD accepts less than another, or keeps less.
func findings(was, is map[string]any) []string {
	var found []string
	before, now := was["spec"].(map[string]any), is["spec"].(map[string]any)
	for _, key := range []string{"group", "scope"} {
		if before[key] != now[key] {
			found = append(found, fmt.Sprintf("spec.%s is %v, and was %v", key, now[key], before[key]))
		}
	}
	later := byName(now["versions"])
	for name, version := range byName(before["versions"]) {
		if later[name]["served"] != true {
			found = append(found, name+" is no longer served")
			continue
		}
		c := comparison{}
		c.schemas(name, schemaOf(version), schemaOf(later[name]))
		found = append(found, c.found...)
	}
	slices.Sort(found)
	return found
}

func byName(versions any) map[string]map[string]any {
	named := map[string]map[string]any{}
	for _, version := range versions.([]any) {
		v := version.(map[string]any)
		named[v["name"].(string)] = v
	}
	return named
}

func schemaOf(version map[string]any) map[string]any {
	return version["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)
}

// comparison collects findings about schemas.
type comparison struct{ found []string }

func (c *comparison) report(path, format string, args ...any) {
	c.found = append(c.found, path+": "+fmt.Sprintf(format, args...))
}

func (c *comparison) schemas(path string, was, is map[string]any) {
	keys := maps.Clone(was)
	maps.Copy(keys, is)
	for key := range keys {
		c.keyword(path, key, was[key], is[key])
	}
}

// keyword compares what two schemas say under one keyword. One that it does not know must stay as it is.
func (c *comparison) keyword(path, key string, was, is any) {
	if reflect.DeepEqual(was, is) || key == "description" {
		return
	}
	switch {
	case key == "properties" && was != nil:
		c.properties(path, was, is)
	case key == "items" && was != nil && is != nil:
		c.schemas(path+"[]", was.(map[string]any), is.(map[string]any))
	case key == "required":
		c.newOnes(path, key, was, is, func(name any) any { return name })
	case key == "x-kubernetes-validations":
		c.newOnes(path, key, was, is, func(rule any) any { return rule.(map[string]any)["rule"] })
	case key == "enum" && was != nil:
		c.newOnes(path, "no longer in the enum", is, was, func(value any) any { return value })
	case strings.HasPrefix(key, "max"):
		c.limit(path, key, was, is, func(was, is float64) bool { return is < was })
	case strings.HasPrefix(key, "min"):
		c.limit(path, key, was, is, func(was, is float64) bool { return is > was })
	case is == nil && slices.Contains([]string{"enum", "pattern", "format"}, key):
	default:
		c.report(path, "%s is %v, and was %v", key, is, was)
	}
}

// properties may be added.
func (c *comparison) properties(path string, was, is any) {
	now, _ := is.(map[string]any)
	for name, schema := range was.(map[string]any) {
		if now[name] == nil {
			c.report(path+"."+name, "is gone")
			continue
		}
		c.schemas(path+"."+name, schema.(map[string]any), now[name].(map[string]any))
	}
}

// newOnes reports what a list has and another has not.
func (c *comparison) newOnes(path, key string, was, is any, name func(any) any) {
	former, _ := was.([]any)
	present, _ := is.([]any)
	for _, element := range present {
		if !slices.ContainsFunc(former, func(f any) bool { return name(f) == name(element) }) {
			c.report(path, "%s: %v", key, name(element))
		}
	}
}

// limit reports one that is new or narrower.
func (c *comparison) limit(path, key string, was, is any, narrower func(was, is float64) bool) {
	if is == nil {
		return
	}
	if was == nil || narrower(was.(float64), is.(float64)) {
		c.report(path, "%s is %v, and was %v", key, is, was)
	}
}
