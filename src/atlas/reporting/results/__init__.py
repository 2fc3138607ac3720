"""Results made elsewhere: files of other evaluation programs -> the episodes of an arm."""
