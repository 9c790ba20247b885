// Command story takes every step of working with sessions, with the client that oapi-codegen generates.
//
// $AMBIENT_API is the address of the API, such as http://127.0.0.1:8081/v1, and $AMBIENT_KEY a key. The agent is `demo`.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"

	"story/ambient"
)

var (
	ctx    = context.Background()
	client *ambient.ClientWithResponses
	mark   = rand.Text()
	id     string
)

func main() {
	address, key := os.Getenv("AMBIENT_API"), os.Getenv("AMBIENT_KEY")
	authorize := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+key)
		return nil
	}
	client = try(ambient.NewClientWithResponses(address, ambient.WithRequestEditorFn(authorize)))

	fmt.Println("whoami:", try(client.WhoamiWithResponse(ctx, nil)).JSON200.Project)
	create()
	talk()
	read()
	find()
	label()
	interrupt()
	follow()
	approve()
	stopAndStart()
	beRefused()
	remove()
	fmt.Println("done")
}

// create creates a session twice with one key: the second response is the first one again.
func create() {
	params := &ambient.CreateSessionParams{IdempotencyKey: &mark}
	body := ambient.SessionCreate{
		Task:        "list the files",
		DisplayName: new("Go " + mark),
		Labels:      &ambient.Labels{"client": "go", "story": mark},
	}
	first := try(client.CreateSessionWithResponse(ctx, params, body))
	again := try(client.CreateSessionWithResponse(ctx, params, body))
	id = first.JSON201.Id
	equal(again.JSON201.Id, id)
	equal(first.HTTPResponse.Header.Get("Idempotency-Replayed"), "")
	equal(again.HTTPResponse.Header.Get("Idempotency-Replayed"), "true")
	equal(settled().Status, ambient.SessionStatusRunning)
	fmt.Println("created:", id)
}

// settled waits until the session has nothing left to do or needs a decision.
func settled() *ambient.Session {
	return try(client.GetSessionWithResponse(ctx, id, &ambient.GetSessionParams{Wait: new(int32(60))})).JSON200
}

// say sends a message and returns the id of its run.
func say(text string) string {
	return try(client.SendMessageWithResponse(ctx, id, nil, ambient.MessageCreate{Content: text})).JSON202.RunId
}

// ended waits for the end of a run.
func ended(run string) *ambient.RunSummary {
	return try(client.GetRunWithResponse(ctx, id, run, &ambient.GetRunParams{Wait: new(int32(60))})).JSON200
}

// talk sends a message and reads the answer to it.
func talk() {
	run := ended(say("what did I say?"))
	equal(run.Status, ambient.RunStatusCompleted)
	equal(strings.Contains(*run.Answer, "list the files"), true)
	fmt.Println("answer:", *run.Answer)
}

// read reads the output in each of its formats.
func read() {
	transcript := output(ambient.OutputFormatTranscript).(ambient.Transcript)
	compact := output(ambient.OutputFormatCompact).(ambient.CompactLog)
	events := output(ambient.OutputFormatEvents).(ambient.EventLog)
	equal(*transcript.Messages[0].Content, "list the files")
	equal(len(compact.Events) < len(events.Events), true)
	fmt.Println("output:", len(transcript.Messages), "messages,", len(events.Events), "events")
}

func output(format ambient.OutputFormat) any {
	params := &ambient.GetSessionOutputParams{Format: &format}
	return try(try(client.GetSessionOutputWithResponse(ctx, id, params)).JSON200.ValueByDiscriminator())
}

// find finds the session by what it is, what it has and what it is called.
func find() {
	byLabel := ambient.ListSessionsParams{
		Status: &[]ambient.SessionStatus{ambient.SessionStatusRunning},
		Label:  &[]string{"story=" + mark},
	}
	byName := ambient.ListSessionsParams{Activity: &[]ambient.Activity{ambient.ActivityIdle}, Search: &mark}
	for _, params := range []ambient.ListSessionsParams{byLabel, byName} {
		found := try(client.ListSessionsWithResponse(ctx, &params)).JSON200.Items
		equal(len(found), 1)
		equal(found[0].Id, id)
	}
	failed := ambient.ListSessionsParams{Status: &[]ambient.SessionStatus{ambient.SessionStatusFailed}, Search: &mark}
	equal(len(try(client.ListSessionsWithResponse(ctx, &failed)).JSON200.Items), 0)
}

// label sets labels, removes one by null and one by its name.
func label() {
	changes := ambient.SessionUpdate{Labels: &ambient.LabelChanges{"tier": new("gold"), "client": nil}}
	equal(update(changes), map[string]string{"story": mark, "tier": "gold"})
	equal(update(ambient.SessionUpdate{RemoveLabels: &[]string{"tier"}}), map[string]string{"story": mark})
}

func update(changes ambient.SessionUpdate) map[string]string {
	return *try(client.UpdateSessionWithResponse(ctx, id, nil, changes)).JSON200.Labels
}

// interrupt cancels a run that would take minutes.
func interrupt() {
	run := say("slow 3000")
	for try(client.GetRunWithResponse(ctx, id, run, nil)).JSON200.Status == ambient.RunStatusQueued {
	}
	equal(*try(client.InterruptSessionWithResponse(ctx, id, nil)).JSON200.Interrupted, true)
	equal(ended(run).Status, ambient.RunStatusInterrupted)
}

// frame is an event with its cursor.
type frame struct {
	cursor string
	event  ambient.AguiEvent
}

// follow follows the events of a run, then continues after an event in the middle.
func follow() {
	run := say("slow 5")
	frames := events(run, nil)
	texts := 0
	for _, frame := range frames {
		if *frame.event.Type == "TEXT_MESSAGE_CONTENT" {
			texts++
		}
	}
	equal(*frames[0].event.Type, "RUN_STARTED")
	equal(*frames[len(frames)-1].event.Type, "RUN_FINISHED")
	equal(texts, 5)
	equal(events(run, &frames[2].cursor), frames[3:])
	fmt.Println("followed:", len(frames), "events")
}

// events reads the stream of a run; StreamSessionEventsWithResponse would return when it has ended.
func events(run string, cursor *string) (found []frame) {
	params := &ambient.StreamSessionEventsParams{RunId: &run, LastEventID: cursor}
	response := try(client.StreamSessionEvents(ctx, id, params))
	defer response.Body.Close()
	equal(response.StatusCode, http.StatusOK)
	next := frame{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			next = frame{cursor: id}
		} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			check(json.Unmarshal([]byte(data), &next.event))
			found = append(found, next)
		}
	}
	return found
}

// approve lets the agent do what it asks for.
func approve() {
	run := ended(say("delete notes.txt"))
	equal(run.Status, ambient.RunStatusWaiting)
	equal(*settled().Activity, ambient.ActivityWaiting)
	pending := try(client.ListApprovalsWithResponse(ctx, id, nil)).JSON200.Items
	equal(len(pending), 1)
	equal(*pending[0].ToolName, "delete_file")
	answer := ambient.ApprovalAnswer{Decision: ambient.DecisionAllow}
	decided := try(client.AnswerApprovalWithResponse(ctx, id, pending[0].Id, nil, answer)).JSON200
	equal(decided.Status, ambient.ApprovalStatusAllowed)
	equal(*settled().Activity, ambient.ActivityIdle)
	run = ended(run.RunId)
	equal(run.Status, ambient.RunStatusCompleted)
	equal(ended(*run.ContinuedBy).Status, ambient.RunStatusCompleted)
}

// stopAndStart stops the session, starts it again with its workspace and conversation, and stops it.
func stopAndStart() {
	stop := func() int { return try(client.StopSessionWithResponse(ctx, id, nil)).StatusCode() }
	start := func() int { return try(client.StartSessionWithResponse(ctx, id, nil)).StatusCode() }
	for _, step := range []struct {
		do     func() int
		status ambient.SessionStatus
	}{
		{stop, ambient.SessionStatusStopped},
		{start, ambient.SessionStatusRunning},
		{stop, ambient.SessionStatusStopped},
	} {
		equal(step.do(), http.StatusAccepted)
		for settled().Status != step.status {
		}
	}
}

// beRefused shows that refusals have a type of their own, with a code for programs.
func beRefused() {
	message := ambient.MessageCreate{Content: "Hello?"}
	refused(422, try(client.SendMessageWithResponse(ctx, id, nil, message)).JSON422)
	refused(404, try(client.GetSessionWithResponse(ctx, "session-of-nobody", nil)).JSON404)
	params := &ambient.GetSessionOutputParams{After: new("1")}
	refused(400, try(client.GetSessionOutputWithResponse(ctx, id, params)).JSON400)
}

func refused(status int, refusal *ambient.Error) {
	fmt.Println("refused:", status, refusal.Code)
}

// remove deletes the session.
func remove() {
	equal(try(client.DeleteSessionWithResponse(ctx, id, nil)).StatusCode(), http.StatusNoContent)
	refused(404, try(client.GetSessionWithResponse(ctx, id, nil)).JSON404)
}

func try[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func equal[T any](found, wanted T) {
	if !reflect.DeepEqual(found, wanted) {
		panic(fmt.Sprintf("found %v instead of %v", found, wanted))
	}
}
