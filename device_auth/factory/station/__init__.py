"""At the station: the plan and its runs, the ways to the units, the records. Never imported on a unit."""
