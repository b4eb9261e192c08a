// Package check holds the tests of what deploy/ gives to Kubernetes,
// Prometheus and Grafana, against the types and the parser of those projects.
// It is a module of its own, so that harvest does not depend on them.
package check
