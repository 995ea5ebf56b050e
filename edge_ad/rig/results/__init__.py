"""Results of a rig: a table, JUnit XML, JSON, and one page of HTML."""
