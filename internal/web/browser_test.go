//go:build integration

package web_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
)

// witness runs in every document before anything else and reports what must
// not happen.
const witness = `
addEventListener("securitypolicyviolation", (e) => report("violation of " + e.effectiveDirective + ": " + e.blockedURI + " " + e.sample));
addEventListener("error", (e) => e.message && report("error: " + e.message));
addEventListener("unhandledrejection", (e) => report("rejected: " + e.reason));
for (const name of ["alert", "confirm", "prompt"]) window[name] = () => report("dialog: " + name);`

// accessible lists what a reader with a screen reader, or with weak eyes,
// stumbles over on a page.
//
//go:embed testdata/accessible.js
var accessible string

// tab is a page of a browser, with all that it did wrong.
type tab struct {
	t   *testing.T
	f   *fixture
	ctx context.Context

	mu      sync.Mutex
	reports []string
}

// browse starts a browser with a fresh profile.
func browse(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		redistest.Missing(t, "chromium", "no chromium on PATH")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// open opens a tab on a server. At the end of the test nothing may have been
// reported.
func open(t *testing.T, browser context.Context, f *fixture) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	b := &tab{t: t, f: f, ctx: ctx}
	b.do(chromedp.ExposeFunc("report", func(_ context.Context, text string) (chromedp.Void, error) {
		b.note(text)
		return chromedp.Void{}, nil
	}))
	if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: witness}); err != nil {
		t.Fatal(err)
	}
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *page.EventJavascriptDialogOpening:
			b.note("dialog: " + e.Message)
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, f.url+"/") && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "about:") {
				b.note("request to " + u)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, text := range b.noted() {
			t.Error(text)
		}
	})
	return b
}

func (b *tab) note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reports = append(b.reports, text)
}

// noted returns what was noted, and forgets it.
func (b *tab) noted() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.reports
	b.reports = nil
	return all
}

// reported is noted once everything that the page reported by now has come.
func (b *tab) reported() []string {
	b.t.Helper()
	const last = "that is all"
	b.evaluate(`setTimeout(() => report("` + last + `"), 100)`)
	var all []string
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		all = append(all, b.noted()...)
		if i := slices.Index(all, last); i >= 0 {
			return slices.Delete(all, i, i+1)
		}
		select {
		case <-b.ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	b.t.Fatalf("the page reports nothing any more; before that %q", all)
	return nil
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) visit(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.f.url + path))
}

// until waits until an expression is true on whatever page is shown then.
func (b *tab) until(expression string) {
	b.t.Helper()
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		var ok bool
		if ok, err = chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")")); ok {
			return
		}
		select {
		case <-b.ctx.Done():
			b.t.Fatal(b.ctx.Err())
		case <-time.After(30 * time.Millisecond):
		}
	}
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	b.t.Fatalf("%s never holds (%v) on\n%s", expression, err, text)
}

// click clicks on the first element of a selector once it is there.
func (b *tab) click(selector string) {
	b.t.Helper()
	quoted, _ := json.Marshal(selector)
	b.until(fmt.Sprintf("document.querySelector(%s)", quoted))
	b.do(chromedp.Click(selector))
}

func (b *tab) keys(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

func (b *tab) evaluate(expression string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[any](expression+"; null")); err != nil {
		b.t.Fatal(err)
	}
}

// looks sets the width of the window and the colours that the reader likes.
func (b *tab) looks(width int64, scheme string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, 900))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

const shown = `[...document.querySelectorAll("#tiles > [data-key]")]`

// TestBrowser drives a browser through what people do.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := browse(t)
	t.Run("journey", func(t *testing.T) { t.Parallel(); journey(t, browser) })
	t.Run("endless gallery", func(t *testing.T) { t.Parallel(); endlessGallery(t, browser) })
	t.Run("hostile names", func(t *testing.T) { t.Parallel(); hostileNames(t, browser) })
	t.Run("accessible", func(t *testing.T) { t.Parallel(); accessiblePages(t, browser) })
	t.Run("without JavaScript", func(t *testing.T) { t.Parallel(); withoutScript(t, browser) })
	t.Run("Redis away", func(t *testing.T) { t.Parallel(); redisAway(t, browser) })
	t.Run("queues", func(t *testing.T) { t.Parallel(); queuesPages(t, browser) })
}

// journey leads from an empty page over a running batch to a filtered gallery
// and a retry by reason, never loading a page by hand.
func journey(t *testing.T, browser context.Context) {
	f := setup(t)
	b := open(t, browser, f)
	b.visit("/")
	b.until(`document.querySelector("h2").textContent === "Nothing here yet"`)

	names := make([]string, 40)
	for i := range names {
		names[i] = fmt.Sprintf("Number %d", i)
	}
	refs := f.add("crew", names...)
	b.click(`a[href="/batches/crew"]`)
	b.until(`document.querySelector("[data-names]").textContent === "40" && document.querySelector("#pictures .empty")`)

	for i, n := range names {
		switch {
		case i%4 == 1:
			f.failed(refs[n], failure.ReasonTimeout, "slow.example")
		case i == 2:
			f.failed(refs[n], failure.ReasonMissing, "pictures.example")
		case i > 2:
			f.keep(refs[n], results.Lookup{Attributes: []results.Attribute{{Name: "age", Value: fmt.Sprint(20 + i)}}}, square("png", 30+i, teal))
		}
	}
	b.until(`document.querySelector("[data-count=done]").textContent === "28" && document.querySelector("[data-bar=done]").getAttribute("width") === "70%"`)
	b.until(`document.querySelectorAll("#pictures .tile").length === 16 && document.querySelector("#trouble table")`)
	b.until(`(({ left }, text) => left - (text.selectNodeContents(document.querySelector("[data-failed]").previousSibling), text).getBoundingClientRect().right)(
		document.querySelector("[data-failed]").getBoundingClientRect(), document.createRange()) > 2`) // a blank between "Try" and the number
	b.until(`[...document.querySelectorAll("#pictures .tile img")].slice(0, 8).every((i) => i.naturalWidth > 2)`)

	b.click(`.tabs a[href$="/gallery"]`)
	b.until(shown + `.length === 28`)
	f.keep(refs["Number 0"], results.Lookup{}, square("jpeg", 90, teal))
	b.until(shown + `.length === 29 && ` + shown + `[0].dataset.key === "Number 0"`)

	b.keys("/")
	b.until(`document.activeElement.id === "q"`)
	b.evaluate(`document.activeElement.value = ""`) // a driver sends the character though the page takes the key
	b.do(chromedp.SendKeys("#q", "number 3"))
	b.click(".filters button")
	b.until(shown + `.map((t) => t.dataset.key).join() === "Number 3,Number 30,Number 31,Number 32,Number 34,Number 35,Number 36,Number 38,Number 39"`)
	b.until(`location.search === "?q=number+3"`)
	b.evaluate(`document.querySelector(".tile a").focus()`)
	b.keys(kb.ArrowRight)
	b.until(`document.activeElement.closest(".tile")?.dataset.key === "Number 30"`)
	b.keys("\r")
	b.until(`document.querySelector("h1").textContent === "Number 30" && document.querySelector(".picture img").naturalWidth === 60`)

	b.click(`.tabs a[href="/batches/crew"]`)
	b.click(`a[href="/batches/crew/change/retry?reason=timeout"]`)
	b.until(`document.querySelector("h1").textContent === "Try 10 names again?"`)
	b.click(`form button`)
	b.until(`document.querySelector(".told").textContent === "10 names will be tried again." && document.querySelector("[data-count=queued]").textContent === "10"`)
	b.until(`!document.querySelector('a[href$="reason=timeout"]') && document.querySelector('a[href$="reason=missing"]')`)

	b.click(`a[href="/batches/crew/change/delete"]`)
	b.click(`form button.danger`)
	b.until(`document.querySelector(".told").textContent.startsWith("Deleted with 40 records") && location.pathname === "/"`)
}

// endlessGallery: further pages come as the end is near, each name once.
func endlessGallery(t *testing.T, browser context.Context) {
	f := setup(t)
	names := make([]string, 400)
	for i := range names {
		names[i] = fmt.Sprintf("Number %d", i)
	}
	refs := f.add("many", names...)
	data := square("png", 12, teal)
	for _, n := range names {
		f.keep(refs[n], results.Lookup{}, data)
	}
	b := open(t, browser, f)
	b.visit("/batches/many/gallery")
	b.until(shown + `.length >= 120`)
	for range 3 {
		b.evaluate(`scrollTo(0, document.body.scrollHeight)`)
		b.until(`true`)
	}
	b.until(`(scrollTo(0, document.body.scrollHeight), ` + shown + `.length === 400)`)
	b.until(`new Set(` + shown + `.map((t) => t.dataset.key)).size === 400 && !document.getElementById("more")`)
	b.until(shown + `.at(-1).querySelector("img").naturalWidth === 12`)
}

// hostileNames: names, answers and pictures from strangers open no dialog and
// break no rule of the policy; and the witness would have seen it.
func hostileNames(t *testing.T, browser context.Context) {
	f := setup(t)
	evil := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'-alert(1)-'`, `javascript:alert(1)`, `{{7*7}}`, `..`, `.`, `a/../b`,
		"\u202egnp.exe", `<svg/onload=alert(1)>`, `</title><script>alert(1)</script>`, `#`, `?a=b&c=d%00`, "日本語", strings.Repeat("W", 250),
	}
	refs := f.add("crew", evil...)
	svg := []byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>`)
	for i, n := range evil {
		lookup := results.Lookup{
			Attributes: []results.Attribute{{Name: n, Value: evil[(i+1)%len(evil)]}}, Licence: "javascript:alert(1)", Attribution: n, Source: "javascript:alert(1)",
		}
		switch i % 3 {
		case 0:
			f.keep(refs[n], lookup, square("png", 20, teal))
		case 1:
			f.keep(refs[n], lookup, svg)
		default:
			f.failed(refs[n], failure.ReasonTimeout, "<b onclick=alert(1)>")
		}
	}
	b := open(t, browser, f)
	for _, path := range []string{"/", "/batches/crew", "/batches/crew/gallery?state=any", "/batches/crew/failures", "/batches/crew/change/retry?host=%3Cscript%3Ealert(1)%3C/script%3E"} {
		b.visit(path)
		b.until(`document.readyState === "complete" && document.querySelector("h1")`)
	}
	b.visit("/batches/crew/gallery?state=any")
	b.until(fmt.Sprintf(`%s.length === %d && [...document.querySelectorAll(".tile img")].every((i) => i.complete || i.getBoundingClientRect().top > innerHeight)`, shown, len(evil)))
	for _, n := range evil {
		b.visit("/batches/crew/name?name=" + url.QueryEscape(n))
		quoted, _ := json.Marshal(n)
		b.until(fmt.Sprintf(`document.querySelector("h1").textContent === %s`, quoted))
		b.do(chromedp.Navigate(f.url + "/thumbnails/crew?rank=1&name=" + url.QueryEscape(n)))
		b.do(chromedp.Navigate(f.url + "/pictures/crew?rank=1&name=" + url.QueryEscape(n)))
	}
	b.visit("/")
	if got := b.reported(); len(got) > 0 {
		t.Errorf("hostile names did: %q", got)
	}
	b.evaluate(`document.body.append(Object.assign(document.createElement("script"), { textContent: "alert(1)" }))`)
	if got := b.reported(); !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "violation of script-src") }) {
		t.Errorf("the witness saw %q, want a violation", got)
	}
}

// accessiblePages holds every page, in light and dark, narrow and wide, to
// names, headings, labels and contrast.
func accessiblePages(t *testing.T, browser context.Context) {
	f := setup(t)
	b := open(t, browser, f)
	check := func(path string, ready string) {
		t.Helper()
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1280} {
				b.looks(width, scheme)
				b.visit(path)
				b.until(ready)
				found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](accessible))
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				for _, text := range found {
					t.Errorf("%s, %s, %d px wide: %s", path, scheme, width, text)
				}
			}
		}
	}
	check("/", `document.querySelector(".empty")`)
	refs := f.add("crew", "Ada", "Bo", "Cy", "Di", "Ed")
	f.keep(refs["Ada"], results.Lookup{
		Attributes: []results.Attribute{{Name: "age", Value: "36"}}, Licence: "CC0", Attribution: "Somebody", Source: "https://source.example/",
	}, square("png", 40, teal), square("png", 50, teal))
	f.keep(refs["Ed"], results.Lookup{}, []byte("<svg>"))
	f.failed(refs["Bo"], failure.ReasonTimeout, "slow.example")
	f.failed(refs["Cy"], failure.ReasonRefusedAddress, "10.1.2.3")
	here := `document.querySelector("h1") && [...document.images].every((i) => i.complete)`
	for _, path := range []string{
		"/", "/batches/crew", "/batches/crew/gallery", "/batches/crew/gallery?state=any&kind=png", "/batches/crew/gallery?q=nobody", "/batches/crew/failures",
		"/batches/crew/name?name=Ada", "/batches/crew/name?name=Bo", "/batches/crew/change/delete", "/batches/crew/change/retry?reason=timeout",
		"/batches/crew?did=retry&names=2", "/batches/screw",
	} {
		check(path, here)
	}
	// The check itself sees what is wrong.
	b.visit("/batches/crew")
	b.evaluate(`document.querySelector("main").insertAdjacentHTML("beforeend", '<a href="/"></a><img src="/static/icon.svg"><input><h4>x</h4>');
		const p = document.createElement("p"); p.textContent = "faint"; p.style.color = "#bbbbbb"; p.style.background = "#dddddd"; document.querySelector("main").append(p)`)
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]string](accessible))
	if err != nil || len(found) < 5 {
		t.Errorf("of five faults the check sees %q, %v", found, err)
	}
}

// withoutScript: everything can be read and done.
func withoutScript(t *testing.T, browser context.Context) {
	f := setup(t)
	refs := f.add("crew", "Ada", "Bo")
	f.keep(refs["Ada"], results.Lookup{}, square("png", 40, teal))
	f.failed(refs["Bo"], failure.ReasonTimeout, "slow.example")
	b := open(t, browser, f)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.visit("/")
	b.click(`a[href="/batches/crew"]`)
	b.click(`a[href="/batches/crew/gallery"]`)
	b.until(`document.querySelector("noscript p").textContent.startsWith("Without JavaScript")`)
	b.until(`document.querySelector(".tile img").naturalWidth === 40`)
	b.click(`a[href="/batches/crew"]`)
	b.click(`a[href="/batches/crew/change/retry?reason=timeout"]`)
	b.click("form button")
	b.until(`document.querySelector(".told").textContent === "1 name will be tried again."`)
}

// redisAway: an open page says so, and goes on by itself.
func redisAway(t *testing.T, browser context.Context) {
	f := setup(t)
	refs := f.add("crew", "Ada", "Bo")
	b := open(t, browser, f)
	b.visit("/batches/crew")
	b.until(`document.querySelector("[data-count=queued]").textContent === "2"`)
	f.redis.Stop()
	b.until(`document.getElementById("connection").textContent.includes("Redis at test does not answer")`)
	f.redis.Restart()
	f.keep(refs["Ada"], results.Lookup{}, square("png", 40, teal))
	b.until(`document.querySelector("[data-count=done]").textContent === "1" && document.getElementById("connection").textContent === ""`)
	b.until(`document.querySelector("#pictures .tile")`)
}

// queuesPages: asynqmon works behind our policy, and asks for nothing outside.
func queuesPages(t *testing.T, browser context.Context) {
	f := setup(t)
	refs := f.add("crew", "Ada")
	f.failed(refs["Ada"], failure.ReasonTimeout, "slow.example")
	f.submit("/batches/crew/change/retry", url.Values{}, 303)
	b := open(t, browser, f)
	b.visit("/queues/")
	b.until(`document.body.innerText.includes("lookup-people-express")`)
	b.visit("/queues/queues/lookup-people-express?status=pending")
	b.until(`document.body.innerText.includes("Ada")`)
}
