package sweep

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// messageName is asynq's own type for what a task's hash holds. asynq
// registers it with protobuf, so what can be decoded here is exactly what
// asynq can decode.
const messageName = "asynq.TaskMessage"

// countRun returns a message with one more retry: a run that never came back.
func countRun(message string) (string, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(messageName)
	if err != nil {
		return "", fmt.Errorf("asynq's message type: %w", err)
	}
	m := kind.New()
	if err := proto.Unmarshal([]byte(message), m.Interface()); err != nil {
		return "", err
	}
	field := func(name protoreflect.Name) protoreflect.FieldDescriptor {
		return kind.Descriptor().Fields().ByName(name)
	}
	m.Set(field("retried"), protoreflect.ValueOfInt32(int32(m.Get(field("retried")).Int())+1))
	m.Set(field("error_msg"), protoreflect.ValueOfString("its worker is gone"))
	counted, err := proto.Marshal(m.Interface())
	return string(counted), err
}

// decode says why asynq cannot work with the message of a task, or nil.
func decode(queue, id, message string) error {
	if message == "" {
		return errors.New("there is none")
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(messageName)
	if err != nil {
		return fmt.Errorf("asynq's message type: %w", err)
	}
	m := kind.New()
	if err := proto.Unmarshal([]byte(message), m.Interface()); err != nil {
		return err
	}
	word := func(field protoreflect.Name) string {
		return m.Get(kind.Descriptor().Fields().ByName(field)).String()
	}
	// asynq settles the task that the message names, so this one would stay.
	if got := word("id"); got != id {
		return fmt.Errorf("it is that of task %.40q", got)
	}
	if got := word("queue"); got != queue {
		return fmt.Errorf("it is for queue %.60q", got)
	}
	return nil
}
