"""`python -m edgewhisk`."""

from edgewhisk.cli import main

raise SystemExit(main())
