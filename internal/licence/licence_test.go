package licence_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/licence"
)

// spellings are licences as services and people write them.
var spellings = map[string][]string{
	"CC0-1.0": {
		"CC0-1.0", "cc0-1.0", "CC0", "cc0", "CC-0", "CC Zero", "CC0 1.0", "cc-zero", "CC0 1.0 Universal", "Creative Commons Zero",
		"Creative Commons CC0", "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "CC0_1_0", "CC0 Public Domain",
		"http://creativecommons.org/publicdomain/zero/1.0/", "https://creativecommons.org/publicdomain/zero/1.0/deed.en",
		"https://creativecommons.org/publicdomain/zero/1.0/legalcode", "creativecommons.org/publicdomain/zero/1.0",
		"http://creativecommons.org/licenses/zero/1.0/", "Creative Commons Zero v1.0 Universal",
	},
	"CC-PDM-1.0": {
		"Public domain", "public domain.", "PD", "PDM", "pdm-1.0", "Public Domain Mark 1.0", "Public Domain Mark", "publicdomain",
		"https://creativecommons.org/publicdomain/mark/1.0/", "(Public Domain)",
	},
	"CC-PDDC": {"https://creativecommons.org/licenses/publicdomain/", "cc-pddc"},
	"CC-BY-4.0": {
		"CC-BY-4.0", "cc-by-4.0", "CC BY 4.0", "cc by 4.0", "CC-BY", "cc-by", "cc_by", "CC_BY_4_0", "CCBY", "CC BY v4.0", "CC-BY 4",
		"Creative Commons Attribution 4.0", "Creative Commons Attribution 4.0 International", "Attribution 4.0 International",
		"Creative Commons Attribution 4.0 International License", "Attribution 4.0 International (CC BY 4.0)",
		"Creative Commons Attribution 4.0 International Public License", "the Creative Commons Attribution licence, version 4.0",
		"http://creativecommons.org/licenses/by/4.0/", "https://creativecommons.org/licenses/by/4.0/deed.de",
		"https://creativecommons.org/licenses/by/4.0/legalcode", "https://www.creativecommons.org/licenses/by/4.0",
		"//creativecommons.org/licenses/by/4.0/", "HTTP://CreativeCommons.org/licenses/BY/4.0/", "CC BY 4.0 https://creativecommons.org/licenses/by/4.0/",
		"CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/).", "https://creativecommons.org/licenses/by/4.0/?ref=chooser-v1",
		"https://spdx.org/licenses/CC-BY-4.0.html", "  CC BY 4.0\n",
	},
	"CC-BY-3.0":       {"CC BY 3.0", "Attribution 3.0 Unported", "http://creativecommons.org/licenses/by/3.0/", "CC-BY-3.0", "CC BY 3.0 Unported"},
	"CC-BY-3.0-US":    {"CC BY 3.0 US", "Creative Commons Attribution 3.0 United States", "https://creativecommons.org/licenses/by/3.0/us/"},
	"CC-BY-2.0":       {"CC BY 2.0", "Attribution 2.0 Generic (CC BY 2.0)", "https://creativecommons.org/licenses/by/2.0/"},
	"CC-BY-SA-4.0":    {"CC BY-SA 4.0", "cc-by-sa-4.0", "cc-by-sa", "CC BY SA", "by-sa", "Attribution-ShareAlike 4.0 International", "Attribution-Share Alike 4.0", "CC BY-SA 4.0 International", "https://creativecommons.org/licenses/by-sa/4.0", "CCBYSA 4.0"},
	"CC-BY-SA-3.0":    {"CC BY-SA 3.0", "Creative Commons Attribution-Share Alike 3.0", "Creative Commons Attribution-ShareAlike 3.0 Unported", "CC-BY-SA 3.0"},
	"CC-BY-SA-3.0-DE": {"CC BY-SA 3.0 DE", "https://creativecommons.org/licenses/by-sa/3.0/de/deed.de", "Creative Commons Attribution-ShareAlike 3.0 Germany"},
	"CC-BY-SA-2.5":    {"CC BY-SA 2.5", "http://creativecommons.org/licenses/by-sa/2.5/"},
	"CC-BY-NC-4.0": {
		"CC BY-NC 4.0", "cc-by-nc", "CC_BY_NC_4_0", "http://creativecommons.org/licenses/by-nc/4.0/legalcode",
		"Creative Commons Attribution-NonCommercial 4.0 International", "Creative Commons Attribution Non Commercial 4.0", "by-nc",
	},
	"CC-BY-NC-SA-4.0":    {"CC BY-NC-SA 4.0", "cc-by-nc-sa", "Attribution-NonCommercial-ShareAlike 4.0 International", "http://creativecommons.org/licenses/by-nc-sa/4.0/"},
	"CC-BY-NC-ND-4.0":    {"CC BY-NC-ND 4.0", "cc-by-nc-nd", "Attribution-NonCommercial-NoDerivatives 4.0 International", "Attribution-NonCommercial-NoDerivs 4.0"},
	"CC-BY-ND-4.0":       {"cc-by-nd", "CC BY-ND 4.0", "Attribution-No Derivative Works 4.0"},
	"CC-BY-NC-SA-2.0-UK": {"Creative Commons Attribution-NonCommercial-ShareAlike 2.0 England and Wales"},
	"CC-BY-3.0-IGO":      {"CC BY 3.0 IGO", "https://creativecommons.org/licenses/by/3.0/igo/"},
	"ODbL-1.0":           {"ODbL", "odbl-1.0", "Open Database License (ODbL) v1.0", "https://opendatacommons.org/licenses/odbl/1-0/", "http://opendatacommons.org/licenses/odbl/1.0/"},
	"PDDL-1.0":           {"PDDL", "https://opendatacommons.org/licenses/pddl/"},
	"GFDL-1.2-or-later":  {"GFDL 1.2+", "GFDL 1.2 or later", "GFDL-1.2-or-later"},
	"GFDL-1.3-only":      {"https://www.gnu.org/licenses/fdl-1.3.html", "GNU Free Documentation License 1.3"},
	"LAL-1.3":            {"Free Art License 1.3", "FAL 1.3", "https://artlibre.org/licence/lal/en/", "Licence Art Libre 1.3"},
	"OGL-UK-3.0":         {"Open Government Licence v3.0", "OGL 3", "OGL v3.0", "http://www.nationalarchives.gov.uk/doc/open-government-licence/version/3/"},
	"etalab-2.0":         {"Licence Ouverte 2.0", "Licence Ouverte / Open Licence 2.0", "Etalab-2.0"},
	"DL-DE-BY-2.0":       {"dl-de/by-2-0", "Datenlizenz Deutschland – Namensnennung – Version 2.0", "https://www.govdata.de/dl-de/by-2-0"},
	"MIT":                {"MIT", "MIT License", "https://opensource.org/licenses/MIT"},
	"Apache-2.0":         {"Apache License, Version 2.0", "http://www.apache.org/licenses/LICENSE-2.0"},
	"": {
		"", " ", "all rights reserved", "All Rights Reserved.", "© John Smith", "unknown", "none", "fair use", "by", "By John Smith", "CC", "Creative Commons",
		"CC BY 4.0 or MIT", "CC BY 4.0 except for logos", "CC BY 3.0 and CC BY 4.0", "CC BY-SA 3.0,2.5,2.0,1.0", "CC BY 4.0 (CC BY-SA 4.0)",
		"CC BY 9.9", "CC BY-SA-ND 4.0", "CC BY 3.0 Narnia", "CC0 BY", "CC0 2.0", "GFDL", "https://creativecommons.org/licenses/by/",
		"https://creativecommons.org/licenses/", "https://creativecommons.org/", "https://creativecommons.org/licenses/by-sa/3.0/fr/",
		"https://creativecommons.org/licenses/by/4.0/evil/deed", "https://evil.example/creativecommons.org/licenses/by/4.0/",
		"https://creativecommons.org.evil.example/licenses/by/4.0/", "http://rightsstatements.org/vocab/InC/1.0/", "not public domain",
		"public domain in the United States", "No known copyright restrictions", "(CC BY 4.0", "CC BY 4.0 [", "not CC BY 4.0", "CC-BY-4.0+",
	},
}

func TestID(t *testing.T) {
	t.Parallel()
	n := 0
	for want, texts := range spellings {
		for _, text := range texts {
			if n++; licence.ID(text) != want {
				t.Errorf("ID(%q) = %q, want %q", text, licence.ID(text), want)
			}
		}
	}
	if n < 60 {
		t.Errorf("%d spellings are too few", n)
	}
}

// Every identifier is itself in any case, in words and as a page of SPDX.
func TestKnown(t *testing.T) {
	t.Parallel()
	for _, id := range licence.Known() {
		for _, text := range []string{id, strings.ToUpper(id), strings.ToLower(id), "https://spdx.org/licenses/" + id, "(" + id + ")"} {
			if got := licence.ID(text); got != id {
				t.Errorf("ID(%q) = %q, want %q", text, got, id)
			}
		}
		if strings.HasPrefix(id, "CC-BY") {
			if text := strings.ReplaceAll(id, "-", " "); licence.ID(text) != id {
				t.Errorf("ID(%q) = %q, want %q", text, licence.ID(text), id)
			}
		}
	}
}

func FuzzID(f *testing.F) {
	for want, texts := range spellings {
		for _, text := range append(texts, want) {
			f.Add(text)
		}
	}
	known := append(licence.Known(), "")
	f.Fuzz(func(t *testing.T, text string) {
		id := licence.ID(text)
		if !slices.Contains(known, id) {
			t.Errorf("ID(%q) = %q, which is unknown", text, id)
		}
		if again := licence.ID(id); again != id {
			t.Errorf("ID(%q) = %q and ID of that is %q", text, id, again)
		}
	})
}

func TestCheck(t *testing.T) {
	t.Parallel()
	list := licence.Config{Licences: []string{"CC0-1.0", "CC-BY-4.0"}}
	for name, tc := range map[string]struct {
		c    licence.Config
		text string
		want string // "": it passes
	}{
		"no list takes all":     {licence.Config{}, "all rights reserved", ""},
		"no list, no licence":   {licence.Config{}, "", ""},
		"on the list":           {list, "https://creativecommons.org/licenses/by/4.0/", ""},
		"a code":                {list, "cc-by", ""},
		"another":               {list, "CC BY-SA 4.0", "licence CC-BY-SA-4.0 is none of picture.licences: CC0-1.0, CC-BY-4.0"},
		"another version":       {list, "CC BY 3.0", "licence CC-BY-3.0 is none of picture.licences: CC0-1.0, CC-BY-4.0"},
		"unknown":               {list, "all rights reserved", `licence "all rights reserved" has no SPDX identifier that is known here; picture.licences: CC0-1.0, CC-BY-4.0`},
		"the service says none": {list, "", "the answer tells no licence; picture.licences: CC0-1.0, CC-BY-4.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := tc.c.Check(tc.text)
			switch {
			case e == nil && tc.want != "":
				t.Errorf("it passes, want %q", tc.want)
			case e != nil && (e.Error() != tc.want || e.Kind != failure.Final || e.Reason != failure.ReasonRefusedLicence):
				t.Errorf("got %s, %s, %q; want final, refused_licence, %q", e.Kind, e.Reason, e, tc.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ids  []string
		want string
	}{
		"none":         {nil, ""},
		"good":         {[]string{"CC0-1.0", "CC-BY-4.0"}, ""},
		"a spelling":   {[]string{"CC BY 4.0"}, `picture.licences: "CC BY 4.0" is no SPDX identifier that is known here: give such as CC-BY-4.0`},
		"a slip":       {[]string{"CC-BI-SA-4.0"}, `picture.licences: "CC-BI-SA-4.0" is no SPDX identifier that is known here: give such as CC-BY-SA-4.0`},
		"case matters": {[]string{"cc0-1.0"}, `picture.licences: "cc0-1.0" is no SPDX identifier that is known here: give such as CC0-1.0`},
		"both are told": {[]string{"gfdl", "free"}, `picture.licences: "gfdl" is no SPDX identifier that is known here: give such as CC-BY-4.0
picture.licences: "free" is no SPDX identifier that is known here: give such as CC-BY-4.0`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := (licence.Config{Licences: tc.ids}).Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
