package screen

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// Way is how a container uses a Secret.
type Way string

// The ways.
const (
	Directory Way = "directory" // the kubelet updates the files after a change
	SubPath   Way = "subPath"   // one file, as it was when the container started
	Env       Way = "env"       // as it was when the container started
)

// Use is one use of a Secret by a container of a pod.
type Use struct {
	Pod, Owner, Container string
	Way                   Way
	// Where is the path of a mount or the name of a variable.
	Where string
	// Since is when the container started; zero if it is not running.
	Since time.Time
	// Created is when the pod was created, Told when the operator last told it of a new token; zero if it never did.
	Created, Told time.Time
}

// UsesOf returns the uses of a Secret in the pods that have not ended.
func UsesOf(secret string, pods []corev1.Pod) (uses []Use) {
	for i := range pods {
		pod := &pods[i]
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		owner := ""
		if o := metav1.GetControllerOf(pod); o != nil {
			owner = o.Kind + " " + o.Name
		}
		for _, c := range containers(pod) {
			for _, use := range usesIn(c, secret, pod.Spec.Volumes) {
				use.Pod, use.Owner, use.Container, use.Since = pod.Name, owner, c.Name, startOf(pod, c.Name)
				use.Created, use.Told = pod.CreationTimestamp.Time, toldAt(pod)
				uses = append(uses, use)
			}
		}
	}
	return uses
}

func containers(pod *corev1.Pod) []corev1.Container {
	list := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	for _, c := range pod.Spec.EphemeralContainers {
		list = append(list, corev1.Container(c.EphemeralContainerCommon))
	}
	return list
}

// usesIn returns the uses of a Secret in one container.
func usesIn(c corev1.Container, secret string, volumes []corev1.Volume) (uses []Use) {
	for _, m := range c.VolumeMounts {
		holds := func(v corev1.Volume) bool { return v.Name == m.Name && fromSecret(v, secret) }
		switch {
		case !slices.ContainsFunc(volumes, holds):
		case m.SubPath != "" || m.SubPathExpr != "":
			uses = append(uses, Use{Way: SubPath, Where: m.MountPath})
		default:
			uses = append(uses, Use{Way: Directory, Where: m.MountPath})
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == secret {
			uses = append(uses, Use{Way: Env, Where: e.Name})
		}
	}
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil && e.SecretRef.Name == secret {
			uses = append(uses, Use{Way: Env, Where: e.Prefix + "*"})
		}
	}
	return uses
}

func fromSecret(v corev1.Volume, secret string) bool {
	if v.Secret != nil {
		return v.Secret.SecretName == secret
	}
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
		return s.Secret != nil && s.Secret.Name == secret
	})
}

func startOf(pod *corev1.Pod, container string) time.Time {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		if s.Name == container && s.State.Running != nil {
			return s.State.Running.StartedAt.Time
		}
	}
	return time.Time{}
}

func toldAt(pod *corev1.Pod) time.Time {
	at, _ := time.Parse(time.RFC3339, pod.Annotations[v1alpha1.AnnotationTokenWrittenAt])
	return at
}

func (s *status) uses() {
	s.section("Used by")
	if why, unseen := s.Unseen[UsesPart]; unseen {
		s.rows([]text{in(yellow, why)})
		return
	}
	if len(s.Uses) == 0 {
		s.rows([]text{in(faint, "no pod in this namespace")})
		return
	}
	var rows [][]text
	stuck := false
	for _, group := range s.groups() {
		first := group[0]
		pod := "pod " + first.Pod
		if more := len(group) - 1; more > 0 {
			pod += fmt.Sprintf(" and %d more", more)
		}
		c, words := s.renewalIn(first)
		stuck = stuck || first.Way != Directory
		rows = append(rows, []text{in(plain, pod), in(plain, first.Container), in(c, string(first.Way)), in(plain, first.Where), in(c, words)})
	}
	s.rows(rows...)
	if stuck {
		s.prose(plain, indent, s.width, "Variables and subPath mounts keep the value from when the container started: mount the Secret as a directory instead.")
	}
}

// renewalIn says whether a renewal reaches a container and, if pods are told of renewals, whether this one was told of the last.
func (s *status) renewalIn(u Use) (c colour, words string) {
	fetched := timeOf(s.Token.Status.FetchedAt)
	isTold := !u.Told.Before(fetched) && !u.Told.After(s.now.Add(patience)) // or else a person wrote it
	switch {
	case s.isOld(u):
		return red, "an older token, never renewed"
	case u.Way != Directory:
		return yellow, "never renewed"
	case s.Token.Spec.Target.Delivery != v1alpha1.DeliveryPrompt || fetched.IsZero():
		return green, "renewed within about two minutes"
	case isTold:
		return green, "told of this token " + ago(u.Told, s.now)
	case !u.Created.Before(fetched):
		return green, "started with this token"
	default:
		return yellow, "not told of this token, renewed within about two minutes"
	}
}

// isOld reports whether a container that never sees a renewal started before the token was fetched.
func (s *status) isOld(u Use) bool {
	return u.Way != Directory && !u.Since.IsZero() && u.Since.Before(timeOf(s.Token.Status.FetchedAt))
}

// groups groups the equal uses of replicas.
func (s *status) groups() (groups [][]Use) {
	type kind struct {
		owner, container, where string
		way                     Way
		renewal                 string
	}
	index := map[kind]int{}
	for _, use := range s.Uses {
		_, renewal := s.renewalIn(use)
		k := kind{use.Owner, use.Container, use.Where, use.Way, renewal}
		i, known := index[k]
		if !known || use.Owner == "" {
			i = len(groups)
			index[k] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], use)
	}
	return groups
}
