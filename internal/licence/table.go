package licence

// known are the SPDX identifiers that services of pictures and data use, from
// version 3.27 of the list: all of Creative Commons, then others.
var known = []string{
	"CC0-1.0",
	"CC-BY-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-2.5-AU", "CC-BY-3.0", "CC-BY-3.0-AT", "CC-BY-3.0-AU", "CC-BY-3.0-DE",
	"CC-BY-3.0-IGO", "CC-BY-3.0-NL", "CC-BY-3.0-US", "CC-BY-4.0",
	"CC-BY-NC-1.0", "CC-BY-NC-2.0", "CC-BY-NC-2.5", "CC-BY-NC-3.0", "CC-BY-NC-3.0-DE", "CC-BY-NC-4.0",
	"CC-BY-NC-ND-1.0", "CC-BY-NC-ND-2.0", "CC-BY-NC-ND-2.5", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-3.0-DE", "CC-BY-NC-ND-3.0-IGO", "CC-BY-NC-ND-4.0",
	"CC-BY-NC-SA-1.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-2.0-DE", "CC-BY-NC-SA-2.0-FR", "CC-BY-NC-SA-2.0-UK", "CC-BY-NC-SA-2.5",
	"CC-BY-NC-SA-3.0", "CC-BY-NC-SA-3.0-DE", "CC-BY-NC-SA-3.0-IGO", "CC-BY-NC-SA-4.0",
	"CC-BY-ND-1.0", "CC-BY-ND-2.0", "CC-BY-ND-2.5", "CC-BY-ND-3.0", "CC-BY-ND-3.0-DE", "CC-BY-ND-4.0",
	"CC-BY-SA-1.0", "CC-BY-SA-2.0", "CC-BY-SA-2.0-UK", "CC-BY-SA-2.1-JP", "CC-BY-SA-2.5", "CC-BY-SA-3.0", "CC-BY-SA-3.0-AT",
	"CC-BY-SA-3.0-DE", "CC-BY-SA-3.0-IGO", "CC-BY-SA-4.0",
	"CC-PDDC", "CC-PDM-1.0",

	"0BSD", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "DL-DE-BY-2.0", "DL-DE-ZERO-2.0",
	"etalab-2.0", "GFDL-1.1-only", "GFDL-1.1-or-later", "GFDL-1.2-only", "GFDL-1.2-or-later", "GFDL-1.3-only", "GFDL-1.3-or-later",
	"GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "ISC", "LAL-1.2", "LAL-1.3", "LGPL-2.1-only",
	"LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "MIT", "MIT-0", "MPL-2.0", "NLOD-1.0", "NLOD-2.0", "ODbL-1.0",
	"ODC-By-1.0", "OGL-Canada-2.0", "OGL-UK-1.0", "OGL-UK-2.0", "OGL-UK-3.0", "PDDL-1.0", "Unlicense", "WTFPL", "Zlib",
}

// titles are what licences are called besides, as tokens joined by blanks and
// without noise.
var titles = map[string]string{
	"public domain":            "CC-PDM-1.0",
	"publicdomain":             "CC-PDM-1.0",
	"pd":                       "CC-PDM-1.0",
	"pdm":                      "CC-PDM-1.0",
	"pdm 1.0":                  "CC-PDM-1.0",
	"cc pdm":                   "CC-PDM-1.0",
	"cc pdm 1.0":               "CC-PDM-1.0",
	"public domain mark":       "CC-PDM-1.0",
	"public domain mark 1.0":   "CC-PDM-1.0",
	"cc public domain mark":    "CC-PDM-1.0",
	"in public domain":         "CC-PDM-1.0",
	"this is in public domain": "CC-PDM-1.0",

	"creative commons public domain mark":                       "CC-PDM-1.0",
	"creative commons public domain mark 1.0":                   "CC-PDM-1.0",
	"public domain mark 1.0 universal":                          "CC-PDM-1.0",
	"creative commons public domain dedication":                 "CC-PDDC",
	"creative commons public domain dedication certification":   "CC-PDDC",
	"creative commons public domain dedication and certificate": "CC-PDDC",

	"gfdl 1.1": "GFDL-1.1-only", "gfdl 1.2": "GFDL-1.2-only", "gfdl 1.3": "GFDL-1.3-only",
	"gfdl 1.1+": "GFDL-1.1-or-later", "gfdl 1.2+": "GFDL-1.2-or-later", "gfdl 1.3+": "GFDL-1.3-or-later",
	"gfdl 1.1 or later": "GFDL-1.1-or-later", "gfdl 1.2 or later": "GFDL-1.2-or-later", "gfdl 1.3 or later": "GFDL-1.3-or-later",
	"gnu free documentation 1.2":          "GFDL-1.2-only",
	"gnu free documentation 1.3":          "GFDL-1.3-only",
	"gnu free documentation 1.2 or later": "GFDL-1.2-or-later",
	"gnu free documentation 1.3 or later": "GFDL-1.3-or-later",

	"free art 1.3": "LAL-1.3", "free art 1.2": "LAL-1.2", "fal 1.3": "LAL-1.3", "lal 1.3": "LAL-1.3",
	"art libre 1.3": "LAL-1.3", "art libre 1.2": "LAL-1.2",

	"odbl": "ODbL-1.0", "odbl 1.0": "ODbL-1.0", "open database": "ODbL-1.0", "open database 1.0": "ODbL-1.0",
	"open data commons open database": "ODbL-1.0", "open data commons open database 1.0": "ODbL-1.0",
	"odc by": "ODC-By-1.0", "open data commons attribution": "ODC-By-1.0", "open data commons attribution 1.0": "ODC-By-1.0",
	"pddl": "PDDL-1.0", "pddl 1.0": "PDDL-1.0", "odc pddl": "PDDL-1.0", "open data commons public domain dedication and": "PDDL-1.0",

	"ogl 1.0": "OGL-UK-1.0", "ogl 2.0": "OGL-UK-2.0", "ogl 3.0": "OGL-UK-3.0", "ogl 3": "OGL-UK-3.0", "ogl 2": "OGL-UK-2.0",
	"open government 1.0": "OGL-UK-1.0", "open government 2.0": "OGL-UK-2.0", "open government 3.0": "OGL-UK-3.0",
	"open government 3": "OGL-UK-3.0", "open government canada 2.0": "OGL-Canada-2.0", "open government 2.0 canada": "OGL-Canada-2.0",
	"ouverte 2.0": "etalab-2.0", "ouverte open 2.0": "etalab-2.0", "etalab 2.0": "etalab-2.0", "ouverte etalab 2.0": "etalab-2.0",
	"dl de by 2.0": "DL-DE-BY-2.0", "dl de zero 2.0": "DL-DE-ZERO-2.0",
	"datenlizenz deutschland namensnennung 2.0": "DL-DE-BY-2.0", "datenlizenz deutschland zero 2.0": "DL-DE-ZERO-2.0",
	"norwegian open government data 2.0": "NLOD-2.0", "nlod 2.0": "NLOD-2.0", "nlod 1.0": "NLOD-1.0", "nlod": "NLOD-1.0",

	"apache 2.0": "Apache-2.0", "apache 2": "Apache-2.0",
	"gpl 2.0": "GPL-2.0-only", "gpl 3.0": "GPL-3.0-only", "gpl 2.0+": "GPL-2.0-or-later", "gpl 3.0+": "GPL-3.0-or-later",
	"gpl 2": "GPL-2.0-only", "gpl 3": "GPL-3.0-only", "gpl 2+": "GPL-2.0-or-later", "gpl 3+": "GPL-3.0-or-later",
	"lgpl 2.1": "LGPL-2.1-only", "lgpl 2.1+": "LGPL-2.1-or-later", "lgpl 3.0": "LGPL-3.0-only", "lgpl 3": "LGPL-3.0-only",
	"agpl 3.0": "AGPL-3.0-only", "agpl 3": "AGPL-3.0-only",
	"mpl 2": "MPL-2.0", "mozilla public 2.0": "MPL-2.0", "expat": "MIT",
}

// homes are addresses that stand for a licence, without scheme, www and what
// a page's name ends with.
var homes = map[string]string{
	"opendatacommons.org/licenses/odbl":                             "ODbL-1.0",
	"opendatacommons.org/licenses/odbl/1.0":                         "ODbL-1.0",
	"opendatacommons.org/licenses/odbl/1-0":                         "ODbL-1.0",
	"opendatacommons.org/licenses/by":                               "ODC-By-1.0",
	"opendatacommons.org/licenses/by/1.0":                           "ODC-By-1.0",
	"opendatacommons.org/licenses/by/1-0":                           "ODC-By-1.0",
	"opendatacommons.org/licenses/pddl":                             "PDDL-1.0",
	"opendatacommons.org/licenses/pddl/1.0":                         "PDDL-1.0",
	"opendatacommons.org/licenses/pddl/1-0":                         "PDDL-1.0",
	"artlibre.org/licence/lal":                                      "LAL-1.3",
	"artlibre.org/licence/lal/en":                                   "LAL-1.3",
	"gnu.org/licenses/fdl-1.2":                                      "GFDL-1.2-only",
	"gnu.org/licenses/old-licenses/fdl-1.2":                         "GFDL-1.2-only",
	"gnu.org/licenses/fdl-1.3":                                      "GFDL-1.3-only",
	"gnu.org/licenses/gpl-3.0":                                      "GPL-3.0-only",
	"gnu.org/licenses/old-licenses/gpl-2.0":                         "GPL-2.0-only",
	"nationalarchives.gov.uk/doc/open-government-licence/version/1": "OGL-UK-1.0",
	"nationalarchives.gov.uk/doc/open-government-licence/version/2": "OGL-UK-2.0",
	"nationalarchives.gov.uk/doc/open-government-licence/version/3": "OGL-UK-3.0",
	"open.canada.ca/en/open-government-licence-canada":              "OGL-Canada-2.0",
	"govdata.de/dl-de/by-2-0":                                       "DL-DE-BY-2.0",
	"govdata.de/dl-de/zero-2-0":                                     "DL-DE-ZERO-2.0",
	"data.norge.no/nlod/en/1.0":                                     "NLOD-1.0",
	"data.norge.no/nlod/en/2.0":                                     "NLOD-2.0",
	"apache.org/licenses/license-2.0":                               "Apache-2.0",
	"mozilla.org/en-us/mpl/2.0":                                     "MPL-2.0",
	"unlicense.org":                                                 "Unlicense",
}
