package check

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	strict "sigs.k8s.io/yaml"
)

// objects are what kustomize makes of deploy/k8s, each decoded strictly.
type objects struct {
	config     corev1.ConfigMap
	pictures   corev1.PersistentVolumeClaim
	worker     appsv1.Deployment
	disruption policyv1.PodDisruptionBudget
	autoscaler autoscalingv2.HorizontalPodAutoscaler
	nightly    batchv1.CronJob
}

func build(t *testing.T) *objects {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../k8s")
	if err != nil {
		t.Fatal(err)
	}
	o := new(objects)
	into := map[string]any{
		"v1/ConfigMap": &o.config, "v1/PersistentVolumeClaim": &o.pictures, "apps/v1/Deployment": &o.worker,
		"policy/v1/PodDisruptionBudget": &o.disruption, "autoscaling/v2/HorizontalPodAutoscaler": &o.autoscaler,
		"batch/v1/CronJob": &o.nightly,
	}
	for _, r := range made.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		kind := r.GetGvk().ApiVersion() + "/" + r.GetKind()
		object := into[kind]
		if object == nil {
			t.Errorf("%s is of a kind that nobody expects, or there are two: %s", r.GetName(), kind)
			continue
		}
		delete(into, kind)
		if err := strict.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%s: %v", r.GetName(), err)
		}
	}
	for kind := range into {
		t.Errorf("there is no %s", kind)
	}
	if t.Failed() {
		t.FailNow()
	}
	return o
}

// defaultOf returns a duration of worker.* in the reference of the settings.
func defaultOf(t *testing.T, key string) time.Duration {
	t.Helper()
	text, err := os.ReadFile("../../configs/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var settings struct{ Worker map[string]any }
	if err := yaml.Unmarshal(text, &settings); err != nil {
		t.Fatal(err)
	}
	d, err := time.ParseDuration(fmt.Sprint(settings.Worker[key]))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWorker(t *testing.T) {
	t.Parallel()
	o := build(t)
	pod := o.worker.Spec.Template.Spec
	drain := defaultOf(t, "shutdown_timeout")
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace < drain+10*time.Second {
		t.Errorf("the grace period is %v, want 10 s more than the drain of %v", grace, drain)
	}
	if o.worker.Spec.Replicas != nil {
		t.Error("replicas are set, which every apply would put in the place of the autoscaler's number")
	}
	if pod.SecurityContext == nil || !*pod.SecurityContext.RunAsNonRoot {
		t.Error("the pod may run as root")
	}
	c := pod.Containers[0]
	if p := c.LivenessProbe.HTTPGet; p.Path != "/healthz" || p.Port.StrVal != "metrics" {
		t.Errorf("liveness asks %s at %s, want /healthz at metrics", p.Path, p.Port.String())
	}
	if p := c.ReadinessProbe.HTTPGet; p.Path != "/readyz" || p.Port.StrVal != "metrics" {
		t.Errorf("readiness asks %s at %s, want /readyz at metrics", p.Path, p.Port.String())
	}
	if c.ReadinessProbe.TimeoutSeconds < 1 {
		t.Error("readiness gives up before its checks do")
	}
	if !*c.SecurityContext.ReadOnlyRootFilesystem || *c.SecurityContext.AllowPrivilegeEscalation {
		t.Error("the container may write to its image or gain powers")
	}
	port := ""
	for _, p := range c.Ports {
		port = fmt.Sprintf("%s 0.0.0.0:%d", p.Name, p.ContainerPort)
	}
	if want := "listen: " + strings.TrimPrefix(port, "metrics "); !strings.Contains(o.config.Data["config.yaml"], want) {
		t.Errorf("the settings lack %q, where the probes ask", want)
	}
	if o.pictures.Spec.AccessModes[0] != corev1.ReadWriteMany {
		t.Error("not all workers can write pictures")
	}
	for key, value := range o.disruption.Spec.Selector.MatchLabels {
		if o.worker.Spec.Template.Labels[key] != value {
			t.Errorf("the disruption budget selects %s=%s, which the workers lack", key, value)
		}
	}
}

// The autoscaler never leaves a batch without a worker.
func TestAutoscaler(t *testing.T) {
	t.Parallel()
	o := build(t)
	a := o.autoscaler.Spec
	if a.MinReplicas == nil || *a.MinReplicas < 1 {
		t.Error("the autoscaler may take the last worker away")
	}
	if a.ScaleTargetRef.Name != o.worker.Name || a.ScaleTargetRef.Kind != "Deployment" {
		t.Errorf("the autoscaler scales %s %s", a.ScaleTargetRef.Kind, a.ScaleTargetRef.Name)
	}
	m := a.Metrics[0].External
	if m == nil || m.Metric.Name != "harvest_names_open" || m.Target.AverageValue == nil {
		t.Errorf("the autoscaler does not go by names open: %+v", a.Metrics[0])
	}
}

func TestNightly(t *testing.T) {
	t.Parallel()
	o := build(t)
	job := o.nightly.Spec
	if job.ConcurrencyPolicy != batchv1.ForbidConcurrent {
		t.Errorf("concurrency policy %s, want Forbid", job.ConcurrencyPolicy)
	}
	args := strings.Join(job.JobTemplate.Spec.Template.Spec.Containers[0].Args, " ")
	if !strings.Contains(args, "--refresh --sync --wait --max-duration 4h") {
		t.Errorf("the job does %q", args)
	}
	if d := time.Duration(*job.JobTemplate.Spec.ActiveDeadlineSeconds) * time.Second; d <= 4*time.Hour {
		t.Errorf("the job is cut off after %v, before its own limit", d)
	}
}
