"""The console as users see it: found by roles, labels and texts."""

from playwright.sync_api import Locator, Page, expect


class Console:
    """A page with the console. `problems` collects its errors."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []

    def sign_in(self, key: str, *, remember: bool = False) -> None:
        """Enter the key."""
        self.field("Access key or token").fill(key)
        if remember:
            self.field("Keep it on this device").check()
        self.press("Open")

    def create(self, task: str, **fields: str) -> None:
        """Create a session, which the console then opens."""
        self.press("New session")
        self.field("Task").fill(task)
        for label, text in fields.items():
            self.field(label).fill(text)
        self.press("Create")
        expect(self.page.locator("#detail")).to_be_visible()

    def send(self, message: str) -> None:
        """Send a message to the open session once it accepts one."""
        expect(self.button("Send")).to_be_enabled()
        self.field("Message").fill(message)
        self.press("Send")

    def press(self, name: str) -> None:
        """Press the button that has this name, in a dialog if there is one."""
        self.button(name).click()

    def button(self, name: str) -> Locator:
        """The button with this name, in a dialog if there is one."""
        return self._front.get_by_role("button", name=name, exact=True)

    def field(self, label: str) -> Locator:
        """The visible field with this label, in a dialog if there is one."""
        return self._front.get_by_label(label).filter(visible=True)

    @property
    def _front(self) -> Locator:
        dialog = self.page.locator("dialog[open]")
        return dialog if dialog.count() else self.page.locator("body")

    @property
    def log(self) -> Locator:
        """The conversation."""
        return self.page.get_by_role("log")

    @property
    def state(self) -> Locator:
        """The state of the open session, in words."""
        return self.page.locator("#state")

    @property
    def notice(self) -> Locator:
        """The last error message."""
        return self.page.locator("#notice-text")

    def tab(self, name: str) -> None:
        """Show a tab of the open session."""
        self.page.get_by_role("tab", name=name).click()

    @property
    def approvals(self) -> Locator:
        """The pending approvals."""
        return self.page.get_by_label("Pending approvals")

    @property
    def sessions(self) -> Locator:
        """The links of the list."""
        return self.page.get_by_label("Sessions").get_by_role("listitem").get_by_role("link")

    @property
    def command(self) -> str:
        """The last command, as a curl line."""
        return self.page.locator("#command").inner_text()

    @property
    def id(self) -> str:
        """The id of the open session."""
        return self.page.url.partition("#/sessions/")[2].partition("/")[0]

    def settled(self) -> None:
        """Wait until no run is active."""
        expect(self.page.locator("#working")).to_be_hidden()
