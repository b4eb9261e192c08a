package cli

import (
	"fmt"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/results"
)

// away says once that pictures lie in a store that is not here, so that no
// path of theirs can be shown.
type away struct {
	env  *Env
	a    *app.App
	said bool
}

// shown is told of each record that is shown, and of the place of its batch's
// pictures, "" where that is not known.
func (w *away) shown(b results.Batch, place string, r results.Record) {
	if place == "" && !w.said && len(r.Stored()) > 0 {
		w.tell(b)
	}
}

func (w *away) tell(b results.Batch) {
	if w.said {
		return
	}
	w.said = true
	fmt.Fprintf(w.env.Err, "%s is not the picture store of batch %s, or cannot be read: pictures are shown by their keys there; say where it is with --storage, or storage.url in the settings\n",
		w.a.Settings.PicturesFolder(), b.Name)
}
