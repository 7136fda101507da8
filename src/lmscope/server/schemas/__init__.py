"""What the server answers, as types; the web app's own types are generated from them."""
