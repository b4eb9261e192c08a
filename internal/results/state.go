package results

// State is what has become of a name in a batch. The words are the same in
// code, output, API and docs.
type State string

// The states. Within a generation a name only moves to the right:
//
//	queued → found → done | partial | failed
//	queued → not_found | no_picture | failed
//	queued | found → cancelled
//	queued | found → unreadable
const (
	Queued    State = "queued"     // waits for its lookup
	Found     State = "found"      // has a record, waits for pictures
	Done      State = "done"       // every picture is stored
	Partial   State = "partial"    // some pictures are stored, others failed
	Failed    State = "failed"     // no picture is stored, or the lookup failed
	NotFound  State = "not_found"  // the provider does not know the name
	NoPicture State = "no_picture" // the provider knows the name and has no picture
	Cancelled State = "cancelled"  // given up by command
	// Unreadable: what Redis has for the name is no record. No record says so;
	// it is found out by whoever was to work on the name, and the record is
	// left as it is for somebody to look at.
	Unreadable State = "unreadable"
)

// States lists every state in the order in which users see them.
func States() []State {
	return []State{Queued, Found, Done, Partial, Failed, NotFound, NoPicture, Cancelled, Unreadable}
}

// Marks that a settled name may have beside its state. A [Query] takes them
// as states.
const (
	// Refreshing: it is asked again. Until that ends well all that is told of
	// it is its last good answer.
	Refreshing State = "refreshing"
	// Stale: it was asked again, and that failed.
	Stale State = "stale"
)

// Marks lists every mark.
func Marks() []State { return []State{Refreshing, Stale} }

func (s State) isMark() bool { return s == Refreshing || s == Stale }

// Open reports whether work on the name is still to come.
func (s State) Open() bool { return s == Queued || s == Found }

// Counts is how many names of a batch are in each state. Each figure is the
// size of a set in Redis, so it cannot drift. It has figures for the marks as
// well, of names that are counted by their state too.
type Counts map[State]int64

// Total is the number of names.
func (c Counts) Total() int64 {
	var n int64
	for _, st := range States() {
		n += c[st]
	}
	return n
}

// ByState returns the counts without those of the marks.
func (c Counts) ByState() Counts {
	states := make(Counts)
	for _, st := range States() {
		states[st] = c[st]
	}
	return states
}

// Open is the number of names with work to come.
func (c Counts) Open() int64 { return c[Queued] + c[Found] + c[Refreshing] }

// Settled is the number of names without work to come.
func (c Counts) Settled() int64 { return c.Total() - c.Open() }
