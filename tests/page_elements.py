"""What a page without script is made of."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    @property
    def action(self) -> str:
        """Where the page's form leads."""
        return next(each["action"] for tag, each in self.elements if tag == "form")

    @property
    def fields(self) -> dict[str, str]:
        """The page's form as it stands."""
        return {each["name"]: each.get("value", "") for tag, each in self.elements if tag == "input"}

    def handle_data(self, data: str) -> None:
        self.words += f"{data} "
