"""Open a page in a browser, if there is one with a window."""

import webbrowser


def opened(address: str) -> bool:
    """Return whether a browser with a window could be started; one in the terminal would take it over."""
    try:
        found = webbrowser.get()
        in_terminal = isinstance(found, webbrowser.GenericBrowser) and not isinstance(
            found, webbrowser.BackgroundBrowser
        )
        return not in_terminal and webbrowser.open(address)
    except webbrowser.Error:
        return False
