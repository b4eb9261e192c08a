// Package export writes the names of a batch, and their pictures, as files
// that other programs read: CSV, JSON lines, Parquet, WebDataset shards and a
// folder to browse.
//
// It reads records and pictures and changes neither. What it writes is seen
// under its own name when it is whole, so that an export that was killed is
// never taken for one. The same records give the same bytes.
//
// Whoever has names of another source writes them by [NewLines] and [NewTable],
// as the web API does.
//
// Memory is bounded whatever the batch has: records come in pages, and the
// pictures that are in memory at once are at most [maxInMemory] bytes, or one.
package export
