{{- define "operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The namespace of all objects that are in one. */}}
{{- define "operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/* The name of all objects. A Service may have 63 characters: this leaves room for "-metrics". */}}
{{- define "operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | trunc 55 | trimSuffix "-" }}
{{- end }}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
{{- $own := include "operator.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "app.kubernetes.io/part-of" "payu-token-operator" }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name (replace "+" "_" .Chart.Version)) }}
{{- merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{/* The metadata of an object. Arguments: root; suffix of the name, namespace, labels and annotations where there are. */}}
{{- define "operator.metadata" -}}
{{- $labels := merge (include "operator.labels" .root | fromYaml) (default dict .labels) }}
{{- $annotations := merge dict (default dict .annotations) .root.Values.commonAnnotations }}
metadata:
  name: {{ default (print (include "operator.fullname" .root) (default "" .suffix)) .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- toYaml $labels | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "operator.serviceAccountName" -}}
{{- default (.Values.serviceAccount.create | ternary (include "operator.fullname" .) "default") .Values.serviceAccount.name }}
{{- end }}

{{- define "operator.subjects" -}}
subjects:
- kind: ServiceAccount
  name: {{ include "operator.serviceAccountName" . }}
  namespace: {{ include "operator.namespace" . }}
{{- end }}

{{- define "operator.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "operator.leaseNamespace" -}}
{{- default (include "operator.namespace" .) .Values.leaderElection.namespace }}
{{- end }}

{{/* The name of the Lease is unique also where releases of several namespaces keep their Leases in one. */}}
{{- define "operator.leaseName" -}}
{{- $name := include "operator.fullname" . }}
{{- $namespace := include "operator.namespace" . }}
{{- if ne (include "operator.leaseNamespace" .) $namespace }}
{{- $name = printf "%s-%s" $namespace $name }}
{{- end }}
{{- default $name .Values.leaderElection.id }}
{{- end }}

{{- define "operator.job" -}}
{{- default (print (include "operator.fullname" .) "-metrics") .Values.prometheusRule.job }}
{{- end }}

{{- define "operator.hasProxy" -}}
{{- with .Values.proxy }}{{ if or .https .http .secretName }}true{{ end }}{{ end }}
{{- end }}

{{/* The TCP ports that the operator must reach, as a JSON list: those of the values and those of the URLs in them. */}}
{{- define "operator.egressPorts" -}}
{{- $ports := list }}
{{- range .Values.networkPolicy.egressPorts }}
{{- $ports = append $ports (int .) }}
{{- end }}
{{- range compact (list .Values.proxy.https .Values.proxy.http .Values.baseURLs.test .Values.baseURLs.production) }}
{{- $url := urlParse . }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $ports = append $ports (int (default (eq $url.scheme "http" | ternary "80" "443") $port)) }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}

{{/* The rights of the operator, as in config/rbac/role.yaml: in all namespaces, or in those that it watches. */}}
{{- define "operator.rules" -}}
rules:
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [auth.payu.in]
  resources: [payutokens]
  verbs: [get, list, watch]
- apiGroups: [auth.payu.in]
  resources: [payutokens/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* What spec.target.delivery: Prompt needs, as in config/prompt-delivery/role.yaml. */}}
{{- define "operator.podRules" -}}
rules:
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch]
{{- end }}
