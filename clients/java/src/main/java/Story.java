import ambient.ApiClient;
import ambient.ApiException;
import ambient.ApiResponse;
import ambient.api.AccessApi;
import ambient.api.ApprovalsApi;
import ambient.api.LifecycleApi;
import ambient.api.OutputApi;
import ambient.api.RunsApi;
import ambient.api.SessionsApi;
import ambient.model.Activity;
import ambient.model.AguiEvent;
import ambient.model.ApprovalAnswer;
import ambient.model.ApprovalStatus;
import ambient.model.CompactLog;
import ambient.model.CreatedSession;
import ambient.model.Decision;
import ambient.model.Error;
import ambient.model.EventLog;
import ambient.model.MessageCreate;
import ambient.model.OutputFormat;
import ambient.model.RunStatus;
import ambient.model.RunSummary;
import ambient.model.Session;
import ambient.model.SessionCreate;
import ambient.model.SessionStatus;
import ambient.model.SessionUpdate;
import ambient.model.Transcript;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;

/**
 * Every step of working with sessions, with the client that openapi-generator generates.
 *
 * <p>$AMBIENT_API is the address of the API, such as http://127.0.0.1:8081/v1, and $AMBIENT_KEY a key. The agent is
 * `demo`.
 */
public final class Story {
    private static final String ADDRESS = System.getenv("AMBIENT_API");
    private static final String AUTHORIZATION = "Bearer " + System.getenv("AMBIENT_KEY");

    private final ApiClient client = new ApiClient();
    private final SessionsApi sessions;
    private final LifecycleApi lifecycle;
    private final RunsApi runs;
    private final OutputApi output;
    private final ApprovalsApi approvals;
    private final String mark = UUID.randomUUID().toString();
    private String id;

    private Story() {
        client.updateBaseUri(ADDRESS);
        client.setRequestInterceptor(request -> request.header("Authorization", AUTHORIZATION));
        sessions = new SessionsApi(client);
        lifecycle = new LifecycleApi(client);
        runs = new RunsApi(client);
        output = new OutputApi(client);
        approvals = new ApprovalsApi(client);
    }

    public static void main(String[] arguments) throws Exception {
        Story story = new Story();
        System.out.println("whoami: " + new AccessApi(story.client).whoami(null).getProject());
        story.create();
        story.talk();
        story.read();
        story.find();
        story.label();
        story.interrupt();
        story.follow();
        story.approve();
        story.stopAndStart();
        story.beRefused();
        story.delete();
        System.out.println("done");
    }

    /** Create a session twice with one key: the second response is the first one again. */
    private void create() throws ApiException {
        SessionCreate body = new SessionCreate()
                .task("list the files")
                .displayName("Java " + mark)
                .labels(Map.of("client", "java", "story", mark));
        ApiResponse<CreatedSession> first = sessions.createSessionWithHttpInfo(body, null, mark);
        ApiResponse<CreatedSession> again = sessions.createSessionWithHttpInfo(body, null, mark);
        id = first.getData().getId();
        equal(again.getData().getId(), id);
        equal(first.getHeaders().get("idempotency-replayed"), null);
        equal(again.getHeaders().get("idempotency-replayed"), List.of("true"));
        equal(settled().getStatus(), SessionStatus.RUNNING);
        System.out.println("created: " + id);
    }

    /** Wait until the session has nothing left to do or needs a decision. */
    private Session settled() throws ApiException {
        return sessions.getSession(id, null, 60);
    }

    /** Send a message and return the id of its run. */
    private String say(String text) throws ApiException {
        return runs.sendMessage(id, new MessageCreate().content(text), null, null).getRunId();
    }

    /** Wait for the end of a run. */
    private RunSummary ended(String run) throws ApiException {
        return runs.getRun(id, run, null, 60, null);
    }

    /** Send a message and read the answer to it. */
    private void talk() throws ApiException {
        RunSummary run = ended(say("what did I say?"));
        equal(run.getStatus(), RunStatus.COMPLETED);
        equal(run.getAnswer().contains("list the files"), true);
        System.out.println("answer: " + run.getAnswer());
    }

    /** Read the output in each of its formats. */
    private void read() throws ApiException {
        Transcript transcript = (Transcript) output(OutputFormat.TRANSCRIPT);
        CompactLog compact = (CompactLog) output(OutputFormat.COMPACT);
        EventLog events = (EventLog) output(OutputFormat.EVENTS);
        equal(transcript.getMessages().get(0).getContent(), "list the files");
        equal(compact.getEvents().size() < events.getEvents().size(), true);
        System.out.printf("output: %d messages, %d events%n", transcript.getMessages().size(), events.getEvents().size());
    }

    private Object output(OutputFormat format) throws ApiException {
        return output.getSessionOutput(id, null, format, null, null, null, null).getActualInstance();
    }

    /** Find the session by what it is, what it has and what it is called. */
    private void find() throws ApiException {
        List<SessionStatus> running = List.of(SessionStatus.RUNNING);
        equal(found(null, running, null, List.of("story=" + mark)), List.of(id));
        equal(found(mark, null, List.of(Activity.IDLE), null), List.of(id));
        equal(found(mark, List.of(SessionStatus.FAILED), null, null), List.of());
    }

    private List<String> found(String search, List<SessionStatus> status, List<Activity> activity, List<String> label)
            throws ApiException {
        return sessions.listSessions(null, null, null, search, status, activity, label).getItems().stream()
                .map(Session::getId)
                .toList();
    }

    /** Set labels, remove one by null and one by its name. */
    private void label() throws ApiException {
        Map<String, String> changes = new HashMap<>();
        changes.put("tier", "gold");
        changes.put("client", null);
        equal(update(new SessionUpdate().labels(changes)), Map.of("story", mark, "tier", "gold"));
        equal(update(new SessionUpdate().removeLabels(List.of("tier"))), Map.of("story", mark));
    }

    private Map<String, String> update(SessionUpdate changes) throws ApiException {
        return sessions.updateSession(id, changes, null).getLabels();
    }

    /** Cancel a run that would take minutes. */
    private void interrupt() throws ApiException {
        String run = say("slow 3000");
        while (runs.getRun(id, run, null, null, null).getStatus() == RunStatus.QUEUED) {
            Thread.onSpinWait();
        }
        equal(lifecycle.interruptSession(id, null).getInterrupted(), true);
        equal(ended(run).getStatus(), RunStatus.INTERRUPTED);
    }

    private record Frame(String cursor, AguiEvent event) {}

    /** Follow the events of a run, then continue after an event in the middle. */
    private void follow() throws IOException, InterruptedException, ApiException {
        String run = say("slow 5");
        List<Frame> frames = events(run, null);
        List<String> types = frames.stream().map(frame -> frame.event().getType()).toList();
        equal(types.get(0), "RUN_STARTED");
        equal(types.get(types.size() - 1), "RUN_FINISHED");
        equal(types.stream().filter("TEXT_MESSAGE_CONTENT"::equals).count(), 5L);
        equal(events(run, frames.get(2).cursor()), frames.subList(3, frames.size()));
        System.out.printf("followed: %d events%n", frames.size());
    }

    /** Return the events of a run with their cursors. The method that is generated for it takes a stream for JSON. */
    private List<Frame> events(String run, String cursor) throws IOException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder()
                .uri(URI.create("%s/sessions/%s/events?run_id=%s".formatted(ADDRESS, id, run)))
                .header("Authorization", AUTHORIZATION);
        if (cursor != null) {
            request.header("Last-Event-ID", cursor);
        }
        var response = client.getHttpClient().send(request.build(), HttpResponse.BodyHandlers.ofLines());
        equal(response.statusCode(), 200);
        List<Frame> frames = new ArrayList<>();
        String next = "";
        for (String line : (Iterable<String>) response.body()::iterator) {
            if (line.startsWith("id: ")) {
                next = line.substring(4);
            } else if (line.startsWith("data: ")) {
                frames.add(new Frame(next, client.getObjectMapper().readValue(line.substring(6), AguiEvent.class)));
            }
        }
        return frames;
    }

    /** Let the agent do what it asks for. */
    private void approve() throws ApiException {
        RunSummary run = ended(say("delete notes.txt"));
        equal(run.getStatus(), RunStatus.WAITING);
        equal(settled().getActivity(), Activity.WAITING);
        var pending = approvals.listApprovals(id, null).getItems();
        equal(pending.size(), 1);
        equal(pending.get(0).getToolName(), "delete_file");
        ApprovalAnswer answer = new ApprovalAnswer().decision(Decision.ALLOW);
        var decided = approvals.answerApproval(id, pending.get(0).getId(), answer, null);
        equal(decided.getStatus(), ApprovalStatus.ALLOWED);
        equal(settled().getActivity(), Activity.IDLE);
        run = ended(run.getRunId());
        equal(run.getStatus(), RunStatus.COMPLETED);
        equal(ended(run.getContinuedBy()).getStatus(), RunStatus.COMPLETED);
    }

    /** Stop the session, start it again with its workspace and conversation, and stop it. */
    private void stopAndStart() throws ApiException {
        lifecycle.stopSession(id, null);
        becomes(SessionStatus.STOPPED);
        lifecycle.startSession(id, null);
        becomes(SessionStatus.RUNNING);
        lifecycle.stopSession(id, null);
        becomes(SessionStatus.STOPPED);
    }

    private void becomes(SessionStatus status) throws ApiException {
        while (settled().getStatus() != status) {
            Thread.onSpinWait();
        }
    }

    /** Refusals are exceptions with a status and a body, whose code is for programs. */
    private void beRefused() throws IOException {
        refused(422, () -> say("Hello?"));
        refused(404, () -> sessions.getSession("session-of-nobody", null, null));
        refused(400, () -> output.getSessionOutput(id, null, OutputFormat.TRANSCRIPT, null, "1", null, null));
    }

    /** Delete the session. */
    private void delete() throws ApiException, IOException {
        equal(sessions.deleteSessionWithHttpInfo(id, null).getStatusCode(), 204);
        refused(404, () -> sessions.getSession(id, null, null));
    }

    private interface Request {
        Object send() throws ApiException;
    }

    private void refused(int status, Request request) throws IOException {
        try {
            throw new AssertionError("not refused: " + request.send());
        } catch (ApiException refusal) {
            equal(refusal.getCode(), status);
            Error error = client.getObjectMapper().readValue(refusal.getResponseBody(), Error.class);
            System.out.println("refused: " + status + " " + error.getCode());
        }
    }

    private static void equal(Object found, Object wanted) {
        if (!Objects.equals(found, wanted)) {
            throw new AssertionError("found " + found + " instead of " + wanted);
        }
    }
}
