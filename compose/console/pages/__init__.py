"""The pages: each module has the page's layout and its callbacks."""
