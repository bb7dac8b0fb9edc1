"""Applications: the command line (`cli`) and HTML pages (`html`)."""
