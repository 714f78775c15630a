package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	// foreignSize is how large a Secret of others is.
	foreignSize = 10_000
	// inOneWrite is how many of them go into etcd at once: it takes 1.5 MB.
	inOneWrite = 100
)

// seedForeign makes Secrets that are not the operator's, from one number to another. It copies one that the API server
// has stored into etcd, under other names: to make 50,000 through the API takes minutes.
func (b *bench) seedForeign(ctx context.Context, namespace string, from, to int) error {
	if from == to {
		return nil
	}
	original := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("original-%06d", from),
			// Who applies Secrets, or makes them from something, says so at length.
			Annotations: map[string]string{"example.com/made-from": strings.Repeat("x", 1000)}},
		Data: map[string][]byte{"file": bytes.Repeat([]byte("x"), foreignSize)},
	}
	if err := b.client.Create(ctx, original); err != nil {
		return err
	}
	original.ResourceVersion = "" // etcd knows it
	uids := newUIDs(to)
	writes := (to - from + inOneWrite - 1) / inOneWrite
	return each(ctx, workers, writes, func(ctx context.Context, n int) error {
		first := from + n*inOneWrite
		return copySecret(ctx, original, uids[first:min(first+inOneWrite, to)], first)
	})
}

// put is an operation of etcd's API. Its JSON has bytes in base64, as Go does.
type put struct {
	Request struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	} `json:"requestPut"`
}

// copySecret writes copies of a Secret into etcd, in one transaction.
func copySecret(ctx context.Context, original *corev1.Secret, uids []string, first int) error {
	puts := make([]put, len(uids))
	for i, uid := range uids {
		one := original.DeepCopy()
		one.Name, one.UID = fmt.Sprintf("foreign-%06d", first+i), types.UID(uid)
		value, err := stored(one)
		if err != nil {
			return err
		}
		puts[i].Request.Key, puts[i].Request.Value = []byte("/registry/secrets/"+one.Namespace+"/"+one.Name), value
	}
	return askEtcd(ctx, "txn", map[string]any{"success": puts}, &struct{}{})
}

// stored returns a Secret as kube-apiserver stores it.
func stored(secret *corev1.Secret) ([]byte, error) {
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	var b bytes.Buffer
	err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(secret, &b)
	return b.Bytes(), err
}

// storedSizes looks into etcd for what the PayUTokens of a namespace take there.
func storedSizes(ctx context.Context, namespace string) (s sizes, err error) {
	for prefix, size := range map[string]*float64{
		"/registry/auth.payu.in/payutokens/" + namespace + "/token-": &s.token,
		"/registry/secrets/" + namespace + "/token-":                 &s.secret,
		"/registry/events/" + namespace + "/token-":                  &s.event,
	} {
		if *size, err = storedSize(ctx, prefix); err != nil {
			return s, err
		}
	}
	return s, nil
}

// storedSize returns how many bytes the first object takes whose key begins so.
func storedSize(ctx context.Context, prefix string) (float64, error) {
	end := []byte(prefix)
	end[len(end)-1]++
	var answer struct {
		Found []struct {
			Key   []byte `json:"key"`
			Value []byte `json:"value"`
		} `json:"kvs"`
	}
	err := askEtcd(ctx, "range", map[string]any{"key": []byte(prefix), "range_end": end, "limit": 1}, &answer)
	if err != nil {
		return 0, err
	}
	if len(answer.Found) == 0 {
		return 0, fmt.Errorf("etcd holds nothing below %s", prefix)
	}
	return float64(len(answer.Found[0].Key) + len(answer.Found[0].Value)), nil
}

// askEtcd makes a request of etcd's API in JSON.
func askEtcd(ctx context.Context, what string, in, out any) error {
	etcd, err := etcdURL()
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, etcd+"/v3/kv/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("asking etcd for %s: %s", what, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(out)
}

// etcdURL is where kube-apiserver finds etcd.
func etcdURL() (string, error) {
	flags, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(children()["kube-apiserver"]), "cmdline"))
	if err != nil {
		return "", fmt.Errorf("looking for kube-apiserver's flags: %w", err)
	}
	for flag := range strings.SplitSeq(string(flags), "\x00") {
		if url, found := strings.CutPrefix(flag, "--etcd-servers="); found {
			return strings.TrimSuffix(url, "/"), nil
		}
	}
	return "", fmt.Errorf("kube-apiserver has no flag --etcd-servers")
}
