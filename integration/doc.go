// Package integration has no code of its own. Its tests, under the build tag
// integration, build the three programs and run them as their users do: as
// processes, against a real redis-server and a real lookup server, with kills,
// signals and bad input in the way. Each test holds a promise by numbers. What
// one package promises alone is tested beside it.
package integration
