package results

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Pictures that are stored by content belong to every record that has their
// hash, so a file may go only with the last of them. Nobody counts the
// records: who wants to remove a file looks at all of them. So that none
// comes into being behind its back, who stores a content claims it before its
// file is there and lets go of it when its record is written; who removes one
// must have it for itself from before the look until the file is gone.

// How long a claim lasts. What it is for must be over by then: one picture is
// stored and recorded, or every record is looked at.
const (
	storeTime  = 5 * time.Minute
	removeTime = 10 * time.Minute
)

// Claim is a hold on one content.
type Claim struct {
	db    *DB
	hash  string
	token string
	until time.Time
}

// ClaimToStore claims a content, by the hash as [Picture] has it, for a record
// that is to refer to it. Any number may do so at once. ok is false where
// somebody is about to remove the content, which takes a moment.
func (db *DB) ClaimToStore(ctx context.Context, hash string) (c Claim, ok bool, err error) {
	return db.claim(ctx, hash, false)
}

// ClaimToRemove claims a content that is to be removed if no record refers
// to it. ok is false where somebody is about to store it, and keeps it or
// removes it himself, or is about to remove it.
func (db *DB) ClaimToRemove(ctx context.Context, hash string) (c Claim, ok bool, err error) {
	return db.claim(ctx, hash, true)
}

func (db *DB) claim(ctx context.Context, hash string, remove bool) (Claim, bool, error) {
	lasts, sign, alone := storeTime, "+", 0
	if remove {
		lasts, sign, alone = removeTime, "-", 1
	}
	c := Claim{db: db, hash: hash, token: sign + uuid.NewString(), until: time.Now().Add(lasts)}
	ok, err := claimScript.Run(ctx, db.rdb, []string{c.key()}, hash, c.token, lasts.Milliseconds(), alone).Bool()
	return c, ok && err == nil, err
}

// Valid reports whether the claim can still be relied on: a process that was
// stopped for long has lost it.
func (c *Claim) Valid() bool { return time.Until(c.until) > removeTime/10 }

// Release ends the claim. One that is not released ends by itself.
func (c *Claim) Release(ctx context.Context) error {
	return c.db.rdb.ZRem(ctx, c.key(), c.hash+" "+c.token).Err()
}

func (c *Claim) key() string {
	return c.db.keys.claims(c.hash[:1])
}

// contentPage is how many records are looked through at once for keys.
const contentPage = 500

// StoredKeys calls do with the store keys of pictures that records of any batch
// refer to, some hundreds at a time and any of them more than once. Names
// that are being forgotten and batches that are being deleted do not count. A
// record that is there from the beginning to the end is not missed. It reads
// every record: a few seconds for a million.
func (db *DB) StoredKeys(ctx context.Context, do func(keys []string)) error {
	names, err := db.rdb.ZRange(ctx, db.keys.batches(), 0, -1).Result()
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := db.Batch(ctx, name)
		if errors.Is(err, ErrNoBatch) || b.Status == Deleting {
			continue
		}
		if err != nil {
			return err
		}
		for s := range b.Shards {
			if err := db.storedKeysOf(ctx, db.keys.records(name, s), do); err != nil {
				return err
			}
		}
	}
	return nil
}

func (db *DB) storedKeysOf(ctx context.Context, records string, do func([]string)) error {
	for cursor := "0"; ; {
		reply, err := storedScript.Run(ctx, db.rdb, []string{records}, cursor, contentPage).StringSlice()
		if err != nil {
			return err
		}
		keys := reply[1:]
		for i, quoted := range keys {
			if err := json.Unmarshal([]byte(quoted), &keys[i]); err != nil {
				return fmt.Errorf("a record in %s: key %s: %w", records, quoted, err)
			}
		}
		do(keys)
		if cursor = reply[0]; cursor == "0" {
			return nil
		}
	}
}
