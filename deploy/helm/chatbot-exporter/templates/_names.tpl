{{- define "exporter.app" -}}
{{ .Values.nameOverride | default .Chart.Name }}
{{- end }}

{{- define "exporter.name" -}}
{{- $app := include "exporter.app" . }}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name $app) (contains $app .Release.Name) }}
{{- .Values.fullnameOverride | default $name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ include "exporter.app" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "exporter.labels" -}}
{{ include "exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "exporter.image" -}}
{{- if not .Values.image.repository }}
{{- fail "image.repository is empty: no image is published; build and push one, then name it here (docs/install.md)" }}
{{- end }}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* How the ledger is kept: "none" (PostgreSQL has it, or the demo), "claim" (the user's) or "own". */}}
{{- define "exporter.volume" -}}
{{- if or .Values.demo (hasPrefix "postgresql" ((.Values.config.ledger | default dict).url | default "")) }}none
{{- else }}{{ ternary "claim" "own" (ne .Values.ledger.existingClaim "") }}
{{- end }}
{{- end }}

{{- /* What runs the pods: replicas keep nothing; one exporter keeps its volume, or is the demo. */}}
{{- define "exporter.kind" -}}
{{- ternary "Deployment" "StatefulSet" (and (not .Values.demo) (eq (include "exporter.volume" .) "none")) }}
{{- end }}

{{- /* exporter.yaml: the user's, with what the chart provides. */}}
{{- define "exporter.config" -}}
{{- $own := dict "version" 1 "ledger" (dict "url" "sqlite:////var/lib/chatbot-exporter/ledger.db") -}}
{{- mergeOverwrite $own (deepCopy .Values.config) | toYaml }}
{{- end }}
