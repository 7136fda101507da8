"""What lies under the served folders: runs, dictionaries, atlases; noticed anew when it changes."""
