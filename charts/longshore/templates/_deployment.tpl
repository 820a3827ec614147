{{/*
A Deployment of replicas. Takes (dict "root" $ "component" "server" "name" … "roles" list "replicas" number or nil
"resources" map): the replicas that answer requests, and the workers, differ in nothing else.
*/}}
{{- define "longshore.deployment" -}}
{{- $ := .root }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ $.Release.Namespace }}
  labels:
    {{- include "longshore.labels" . | nindent 4 }}
  {{- include "longshore.annotations" (dict "root" $ "own" dict) }}
spec:
  {{- if not (kindIs "invalid" .replicas) }}
  replicas: {{ int .replicas }}
  {{- end }}
  revisionHistoryLimit: {{ $.Values.revisionHistoryLimit }}
  strategy:
    {{- toYaml $.Values.updateStrategy | nindent 4 }}
  selector:
    matchLabels:
      {{- include "longshore.selectorLabels" $ | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels:
        {{- include "longshore.podLabels" . | nindent 8 }}
        longshore.dev/metrics: "true"
      annotations:
        # A setting that changes restarts the pods. Templates do not: they are read again by themselves.
        checksum/config: {{ print (include "longshore.settings" $) (include "longshore.files" $) | sha256sum }}
        {{- with merge (dict) $.Values.podAnnotations $.Values.commonAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "longshore.podBase" (dict "root" $ "token" true) | nindent 6 }}
      terminationGracePeriodSeconds: {{ include "longshore.gracePeriod" $ }}
      topologySpreadConstraints:
        {{- if $.Values.topologySpreadConstraints }}
        {{- toYaml $.Values.topologySpreadConstraints | nindent 8 }}
        {{- else }}
        {{- $selector := printf "%s\napp.kubernetes.io/component: %s" (include "longshore.selectorLabels" $) .component }}
        {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- $selector | nindent 14 }}
        {{- end }}
        {{- end }}
      {{- with $.Values.initContainers }}
      initContainers:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: longshore
          {{- include "longshore.containerBase" $ | nindent 10 }}
          args:
            - serve
            {{- with $.Values.extraArgs }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          envFrom:
            - configMapRef:
                name: {{ include "longshore.fullname" $ }}
            {{- with $.Values.extraEnvFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          env:
            - name: LONGSHORE_PORT
              value: "8000"
            {{- with .roles }}
            - name: LONGSHORE_ROLES
              value: {{ join "," . | quote }}
            {{- end }}
            {{- with include "longshore.env" $ | trim }}
            {{- . | nindent 12 }}
            {{- end }}
          ports:
            - name: http
              containerPort: 8000
              protocol: TCP
          startupProbe:
            {{- toYaml $.Values.startupProbe | nindent 12 }}
          livenessProbe:
            {{- toYaml $.Values.livenessProbe | nindent 12 }}
          readinessProbe:
            {{- toYaml $.Values.readinessProbe | nindent 12 }}
          resources:
            {{- toYaml .resources | nindent 12 }}
          {{- with print (include "longshore.fileMounts" $) (include "longshore.volumeMounts" $) | trim }}
          volumeMounts:
            {{- . | nindent 12 }}
          {{- end }}
        {{- with $.Values.extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with print (include "longshore.fileVolumes" $) (include "longshore.volumes" $) | trim }}
      volumes:
        {{- . | nindent 8 }}
      {{- end }}
{{- end }}
