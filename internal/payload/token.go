package payload

// Token is replaced at the merge.
func (t Template) Token(data map[string][]byte, fields Fields) (string, bool) {
	v, ok := data["access_token"]
	return string(v), ok
}
