// Package gate bounds what all processes together ask of one host: requests
// in flight, requests per second, minute, hour and day, no request before the
// time that the host asked for, and none while the service behind it is down.
// What is shared is in Redis and goes by Redis's clock.
//
// A request that wants to begin calls [Gate.Acquire] and calls what it gets
// when it has ended. A place in flight is a member with a lease, so that a
// process that dies frees its places within 15 s. Those that wait in one
// process stand in one line for each host and ask together; between processes
// who waited longest goes first. A host without limits costs no trip to Redis:
// its not-before and its breaker are kept in memory, published when they
// change, and read again when the connection was lost.
//
// The package makes no requests, knows no tasks, and reads no answers: what
// an answer asks for comes in by [Gate.Hold], how a request went by
// [Gate.Report].
package gate
