package httpapi

// AppendUserList is the encoder of lists, for its tests.
var AppendUserList = appendUserList
