"""Regenerates the script that draws the charts of the report: Vega, Vega-Lite and Vega-Embed.

The script comes out of vl-convert, takes seconds to make, and is therefore kept, compressed, as
package data. Run this after the pinned version of vl-convert has changed:

    python tools/bundle_scripts.py
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import vl_convert

TARGET = Path(__file__).parent.parent / "src/lanework/report/assets/vega.js.gz"


def make() -> bytes:
    """The bundle as a script of its own: nothing but `vegaEmbed` becomes global."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    versions = (
        f"vl-convert {vl_convert.__version__}, Vega {vl_convert.get_vega_version()}, "
        f"Vega-Lite {vl_convert.get_vegalite_versions()[-1]}, "
        f"Vega-Embed {vl_convert.get_vega_embed_version()}"
    )
    return f"/* {versions}; BSD-3-Clause, see LICENSES.txt */\n(()=>{{{script}\n}})();\n".encode()


def main() -> int:
    """Writes the bundle; with --check only says whether it is up to date."""
    made = make()
    if "--check" in sys.argv[1:]:
        is_same = TARGET.is_file() and gzip.decompress(TARGET.read_bytes()) == made
        print("up to date" if is_same else "stale: run python tools/bundle_scripts.py")
        return 0 if is_same else 1
    TARGET.write_bytes(gzip.compress(made, 9, mtime=0))
    print(f"{TARGET.name}: {len(made):,} bytes, {TARGET.stat().st_size:,} compressed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
